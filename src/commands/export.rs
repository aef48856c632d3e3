//! `lopper export`.

use super::Common;
use super::formats::{Format, OnnxArgs};
use crate::output_file::refuse_existing;
use crate::progress::note;
use clap::Args;
use lopper_engine::torchvision::{WeightsFormat, export_published};
use lopper_engine::{Graph, Result, file, onnx, python};
use lopper_models::published;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Write a network for other programs: as ONNX, as a module of PyTorch, or only its weights with torchvision's names
/// and layouts, as safetensors or as torch.save writes them.
#[derive(Args)]
pub struct Export {
    /// A model file
    model: PathBuf,
    /// The file to write: .onnx, .py (a module of PyTorch, with its weights beside it) or .safetensors or .pth (weights only)
    #[arg(long, value_parser = super::formats::written_path())]
    out: PathBuf,
    /// Format of the file [default: as its name ends]
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    onnx: OnnxArgs,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

impl Export {
    pub fn run(&self, common: &Common) -> Result<()> {
        let format = Format::of(&self.out, self.format)?;
        self.onnx.check(format)?;
        refuse_existing(&self.out, self.force)?;
        let graph = file::load(&self.model)?;
        let written = write(&graph, &self.out, format, &self.onnx, self.force)?;
        print(&written, common)
    }
}

/// Writes `graph` to `out` in `format`, and returns the files that were written, `out` first.
pub(super) fn write(
    graph: &Graph,
    out: &Path,
    format: Format,
    onnx: &OnnxArgs,
    force: bool,
) -> Result<Vec<PathBuf>> {
    let mut written = vec![out.to_path_buf()];
    let names = |ours: &str| published(&graph.info.arch, ours);
    let flushed = match format {
        Format::Safetensors => export_published(graph, out, &names, WeightsFormat::Safetensors)?.flushed,
        Format::Pth => export_published(graph, out, &names, WeightsFormat::StateDict)?.flushed,
        Format::Onnx => {
            let options = onnx.options()?;
            let writer = onnx::Writer::new(graph, out, &options)?;
            if let Some(data) = writer.data() {
                refuse_existing(data, force)?;
                written.push(data.to_path_buf());
                if !options.external_data {
                    note(format_args!(
                        "an ONNX file has at most 2 GiB: the weights go to {}",
                        data.display()
                    ));
                }
            }
            writer.write()?.flushed
        }
        Format::Pytorch => {
            let weights = python::weights_of(out);
            refuse_existing(&weights, force)?;
            written.push(weights);
            python::export(graph, out)?.flushed
        }
        Format::Model => {
            file::save(graph, out)?;
            0
        }
    };
    if flushed > 0 {
        note(format_args!(
            "{flushed} weights too small for a normal number (below 1.2e-38) are written as zeros"
        ));
    }
    Ok(written)
}

/// Prints the files that were `written`: the network, and its weights if they are in a file of their own.
pub(super) fn print(written: &[PathBuf], common: &Common) -> Result<()> {
    let names: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    let fields = match &names[..] {
        [network, weights, ..] => json!({ "written": network, "weights": weights }),
        names => json!({ "written": names.first() }),
    };
    common.print(&fields, || format!("wrote {}", names.join(" and ")))
}
