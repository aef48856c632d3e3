//! ONNX files as model files.

use crate::progress::note;
use clap::Args;
use lopper_engine::onnx::{ImportOptions, Imported};
use lopper_engine::{Error, Graph, Result, onnx};
use lopper_models::pretraining;
use std::path::Path;

/// What an imported network expects of its images, where its file does not say it.
#[derive(Args)]
#[command(next_help_heading = "ONNX")]
pub struct OnnxImages {
    /// Mean of each channel of pixels in [0, 1], separated by commas [default: the file's, or ImageNet's]
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = super::single)]
    mean: Option<Vec<f32>>,
    /// Standard deviation of each channel, separated by commas [default: the file's, or ImageNet's]
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = super::single)]
    std: Option<Vec<f32>>,
}

impl OnnxImages {
    /// Whether an option is given.
    pub fn is_given(&self) -> bool {
        self.mean.is_some() || self.std.is_some()
    }

    /// Reads the ONNX file `path`. Sides that it leaves open are `side`.
    pub fn import(&self, path: &Path, side: usize) -> Result<Graph> {
        let Imported { mut graph, notes } = onnx::import(path, &ImportOptions { side: Some(side) })?;
        for remark in notes {
            note(format_args!("{}: {remark}", path.display()));
        }
        let channels = graph.info.input[2];
        for (option, given, place) in
            [("--mean", &self.mean, &mut graph.info.mean), ("--std", &self.std, &mut graph.info.std)]
        {
            let Some(values) = given else { continue };
            if values.len() != channels {
                let found = values.len();
                return Err(Error::invalid(format!("{option}: expected {channels} numbers, found {found}")));
            }
            place.clone_from(values);
        }
        assume(&mut graph, path)?;
        Ok(graph)
    }
}

/// Fills in what is still unknown of the images from ImageNet, and says so.
fn assume(graph: &mut Graph, path: &Path) -> Result<()> {
    let info = &mut graph.info;
    let imagenet = pretraining("resnet18")?;
    let rgb = info.input[2] == imagenet.mean.len();
    if rgb && (info.mean.is_empty() || info.std.is_empty()) {
        note(format_args!(
            "{}: its images are assumed to be normalized by ImageNet's mean and deviation (--mean, --std)",
            path.display()
        ));
        for (place, values) in [(&mut info.mean, imagenet.mean), (&mut info.std, imagenet.std)] {
            if place.is_empty() {
                *place = values.to_vec();
            }
        }
    }
    if rgb && info.preparation.is_none() {
        info.preparation = Some(imagenet.preparation(info.input[0].min(info.input[1])));
    }
    Ok(())
}
