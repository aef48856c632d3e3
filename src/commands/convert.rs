//! `lopper convert`.

use super::Common;
use super::export::{print, write};
use super::foreign::Foreign;
use super::formats::{Format, OnnxArgs, is_onnx};
use crate::output_file::refuse_existing;
use clap::Args;
use lopper_engine::{Error, Graph, Result, file};
use std::path::PathBuf;

/// Convert a network from one format to another: a model file, an ONNX file or weights of PyTorch, to a model file, an
/// ONNX file, a module of PyTorch, or a file of its weights alone as torch.save writes it.
#[derive(Args)]
pub struct Convert {
    /// The network: a model file, an .onnx file, or weights with PyTorch's names (.pth, .pt, .bin, .safetensors) and
    /// --arch
    input: PathBuf,
    /// The file to write: .safetensors (a model file), .onnx, .py or .pth (weights only)
    #[arg(value_parser = super::formats::written_path())]
    output: PathBuf,
    #[command(flatten)]
    foreign: Foreign,
    #[command(flatten)]
    onnx: OnnxArgs,
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
        let graph = self.read(common)?;
        let written = write(&graph, &self.output, format, &self.onnx, self.force)?;
        print(&written, common)
    }

    /// Reads the input: a model file, unless its name or the architecture says otherwise.
    fn read(&self, common: &Common) -> Result<Graph> {
        let input = &self.input;
        let model = input.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors"));
        if is_onnx(input) || self.foreign.is_weights() || !model {
            return Ok(self.foreign.read(input, common)?.0);
        }
        match self.foreign.given() {
            Some(option) => Err(Error::invalid(format!(
                "{option}: applies to ONNX files and to weights of an architecture (--arch) only; a model file has its own"
            ))),
            None => file::load(input),
        }
    }
}
