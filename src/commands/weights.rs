//! `lopper export` and `lopper import`.

use super::train::parse_head;
use super::{Common, classes, is_file, open_network};
use crate::output_file::refuse_existing;
use crate::progress::note;
use clap::Args;
use lopper_engine::info::{Preparation, Resize};
use lopper_engine::torchvision::ImportReport;
use lopper_engine::{Error, Graph, Result, file, torchvision};
use lopper_models::data::{IMAGENET_MEAN, IMAGENET_STD};
use lopper_models::{Head, last_layer, new_head, with_outputs};
use serde_json::json;
use std::path::PathBuf;

/// Write the weights with torchvision's names and layouts.
#[derive(Args)]
pub struct Export {
    /// A model file
    model: PathBuf,
    /// The safetensors file to write
    #[arg(long, value_parser = super::safetensors_path())]
    out: PathBuf,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

impl Export {
    pub fn run(&self, common: &Common) -> Result<()> {
        refuse_existing(&self.out, self.force)?;
        torchvision::export_weights(&file::load(&self.model)?, &self.out)?;
        common.print(&json!({ "written": self.out }), || format!("wrote {}", self.out.display()))
    }
}

/// Read weights with torchvision's names and layouts into an architecture.
#[derive(Args)]
pub struct Import {
    /// A safetensors file with torchvision's names
    weights: PathBuf,
    /// The architecture, or a model file with it
    #[arg(long)]
    arch: String,
    /// Number of classes of the architecture [default: ImageNet's 1000]
    #[arg(long, value_parser = classes())]
    classes: Option<u32>,
    /// Read weights of any number of classes: keep their body and draw a new head for the classes of the architecture
    #[arg(long)]
    new_head: bool,
    /// Kind of the new head: own, for a new last layer, or fastai [default: own]
    #[arg(long, requires = "new_head", value_parser = parse_head)]
    head: Option<Head>,
    /// Side of the architecture's square images in pixels
    #[arg(long, default_value_t = 224, value_parser = super::image_side)]
    size: usize,
    /// Size of an image before its center is cropped: none, square, the shorter side in pixels, or center:SHARE
    /// [default: the model file's; for an architecture 256 if --size is 224, and in proportion, or below 128 pixels the
    /// largest centered square]
    #[arg(long)]
    resize: Option<Resize>,
    /// The model file to write
    #[arg(long, value_parser = super::safetensors_path())]
    out: PathBuf,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

/// Below this size, networks are made for small images as a whole rather than for the centers of larger ones.
const WHOLE_BELOW: usize = 128;

impl Import {
    pub fn run(&self, common: &Common) -> Result<()> {
        refuse_existing(&self.out, self.force)?;
        let mut graph = if is_file(&self.arch) {
            open_network(&self.arch, self.classes, self.size, None)?
        } else {
            let mut graph = open_network(&self.arch, self.classes.or(Some(1000)), self.size, None)?;
            // The normalization and preparation of torchvision's weights; a model file stores its own.
            (graph.info.mean, graph.info.std) = (IMAGENET_MEAN.to_vec(), IMAGENET_STD.to_vec());
            graph.info.preparation = Some(match self.size {
                size if size < WHOLE_BELOW => Preparation::center(1.0),
                size => Preparation::torchvision((size * 256).div_ceil(224)),
            });
            graph
        };
        if let Some(resize) = self.resize {
            graph.info.preparation = Some(Preparation { resize, ..Preparation::center(1.0) });
        }
        let report = match self.new_head {
            true => self.import_body(&mut graph, common.seed.unwrap_or(0))?,
            false => torchvision::import_weights(&mut graph, &self.weights)
                .map_err(|error| self.of_other_classes(&graph).unwrap_or(error))?,
        };
        file::save(&graph, &self.out)?;
        common.print(&json!({ "written": self.out }), || {
            format!("{} tensors read; wrote {}", report.imported, self.out.display())
        })
    }

    /// Reads weights of any number of classes into `graph`, then puts a new head for its own classes on it.
    fn import_body(&self, graph: &mut Graph, seed: u64) -> Result<ImportReport> {
        let info = graph.info.clone();
        if let Some(outputs) = torchvision::outputs_of(graph, last_layer(graph)?, &self.weights)? {
            *graph = with_outputs(graph, outputs)?;
        }
        let report = torchvision::import_weights(graph, &self.weights)?;
        let new = new_head(graph, info.classes.clone(), self.head.unwrap_or_default(), Some(seed))?;
        note(&new);
        *graph = new.graph;
        graph.info = info;
        Ok(report)
    }

    /// The error of weights that fit `graph` except for their number of classes.
    fn of_other_classes(&self, graph: &Graph) -> Option<Error> {
        let last = last_layer(graph).ok()?;
        let (name, expected) = (&graph.nodes()[last].name, graph.info.classes.len());
        let found = torchvision::outputs_of(graph, last, &self.weights).ok()??;
        torchvision::import_weights(&mut with_outputs(graph, found).ok()?, &self.weights).ok()?;
        let as_it_is = match is_file(&self.arch) {
            true => String::new(),
            false => format!(", --classes {found} reads them as they are"),
        };
        Some(Error::file(
            &self.weights,
            format!(
                "has {found} classes, expected {expected}: --new-head keeps the body and draws a new `{name}`{as_it_is}"
            ),
        ))
    }
}
