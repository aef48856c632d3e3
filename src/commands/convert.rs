//! `lopper convert`.

use super::Common;
use super::export::write;
use super::formats::{Format, OnnxArgs, is_onnx};
use super::import_onnx::OnnxImages;
use crate::output_file::refuse_existing;
use clap::Args;
use lopper_engine::{Error, Result, file};
use serde_json::json;
use std::path::PathBuf;

/// Convert a network from one format to another: a model file or an ONNX file, to either of them, to a module of
/// PyTorch, or to a file of its weights alone as torch.save writes it.
#[derive(Args)]
pub struct Convert {
    /// The network: a model file, or .onnx
    input: PathBuf,
    /// The file to write: .safetensors (a model file), .onnx, .py or .pth (weights only)
    #[arg(value_parser = super::formats::written_path())]
    output: PathBuf,
    /// Side of the images in pixels, where an ONNX file leaves it open
    #[arg(long, default_value_t = 224, value_parser = super::image_side)]
    size: usize,
    #[command(flatten)]
    onnx: OnnxArgs,
    #[command(flatten)]
    images: OnnxImages,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

impl Convert {
    pub fn run(&self, common: &Common) -> Result<()> {
        let format = match Format::of(&self.output, None)? {
            Format::Safetensors => Format::Model,
            other => other,
        };
        self.onnx.check(format)?;
        refuse_existing(&self.output, self.force)?;
        let graph = match (is_onnx(&self.input), self.images.is_given()) {
            (true, _) => self.images.import(&self.input, self.size)?,
            (false, false) => file::load(&self.input)?,
            (false, true) => {
                return Err(Error::invalid(
                    "--mean, --std: apply to ONNX files only; a model file has its own",
                ));
            }
        };
        let written = write(&graph, &self.output, format, &self.onnx, self.force)?;
        common.print(&json!({ "written": written[0] }), || {
            let files: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
            format!("wrote {}", files.join(" and "))
        })
    }
}
