//! `lopper import`.

use super::Common;
use super::foreign::Foreign;
use super::import_outputs::KeepOutputs;
use crate::output_file::refuse_existing;
use clap::Args;
use lopper_engine::{Result, file};
use serde_json::json;
use std::path::PathBuf;

/// Read weights of PyTorch into an architecture: a safetensors file, or a state dict or checkpoint of torch.save, of
/// which only the tensors are read. Or read a whole network from an ONNX file.
#[derive(Args)]
pub struct Import {
    /// A .safetensors, .pth, .pt or .bin file with PyTorch's names, or an .onnx file
    weights: PathBuf,
    #[command(flatten)]
    foreign: Foreign,
    #[command(flatten)]
    outputs: KeepOutputs,
    /// The model file to write
    #[arg(long, value_parser = super::safetensors_path())]
    out: PathBuf,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

impl Import {
    pub fn run(&self, common: &Common) -> Result<()> {
        refuse_existing(&self.out, self.force)?;
        let (mut graph, read) = self.foreign.read(&self.weights, common)?;
        self.outputs.apply(&mut graph, common)?;
        file::save(&graph, &self.out)?;
        let out = self.out.display().to_string();
        common.print(&json!({ "written": out }), || format!("{read}; wrote {out}"))
    }
}
