//! Networks that others trained: weights of an architecture, or an ONNX file.

use super::formats::is_onnx;
use super::import_onnx::OnnxImages;
use super::train::parse_head;
use super::{Common, classes, is_file, open_network};
use crate::progress::note;
use clap::Args;
use lopper_engine::info::{Preparation, Resize};
use lopper_engine::torchvision::{Assignment, ImportReport};
use lopper_engine::{Error, Graph, Result, torchvision};
use lopper_models::{Head, is_auxiliary, last_layer, last_layers, new_head, our_name, with_outputs};
use std::path::Path;

/// How a file of another project is read.
#[derive(Args)]
pub struct Foreign {
    /// The architecture, or a model file with it; an ONNX file has its own
    #[arg(long)]
    arch: Option<String>,
    /// Number of classes of the architecture [default: those of its published weights, mostly ImageNet's 1000]
    #[arg(long, value_parser = classes())]
    classes: Option<u32>,
    /// Read weights of any number of classes, or without a last layer: keep their body and draw a new head for the
    /// classes of the architecture, as --classes does if the number differs
    #[arg(long)]
    new_head: bool,
    /// Assign tensors to layers by their shapes and order, whatever their names: the last resort. Prints the pairs;
    /// check the accuracy
    #[arg(long)]
    by_order: bool,
    /// Kind of the new head: own, for a new last layer, or fastai [default: own]
    #[arg(long, requires = "new_head", value_parser = parse_head)]
    head: Option<Head>,
    /// Side of the architecture's square images in pixels, or of an ONNX file's if that leaves it open [default: that
    /// of the architecture's published weights, mostly 224; 224 for an ONNX file]
    #[arg(long, value_parser = super::image_side)]
    size: Option<usize>,
    /// Size of an image before its center is cropped: none, square, the shorter side in pixels, or center:SHARE
    /// [default: the model file's; for an architecture that of its published weights, mostly 256 of 224, and in
    /// proportion, or below 128 pixels the largest centered square]
    #[arg(long)]
    resize: Option<Resize>,
    #[command(flatten)]
    images: OnnxImages,
}

/// Below this size, networks are made for small images as a whole rather than for the centers of larger ones.
const WHOLE_BELOW: usize = 128;

/// Side of the images of an ONNX file that leaves it open.
const OPEN_SIDE: usize = 224;

impl Foreign {
    /// Reads `path`: an ONNX file, or weights of the architecture that was given. Also returns how much was read.
    pub fn read(&self, path: &Path, common: &Common) -> Result<(Graph, String)> {
        let (mut graph, read) = match (&self.arch, is_onnx(path)) {
            (Some(arch), false) => self.weights(path, arch, common),
            (None, true) => self.network(path),
            (Some(_), true) => {
                Err(Error::file(path, "--arch applies to weights only; an ONNX file is a whole network"))
            }
            (None, false) => Err(Error::file(path, "expected --arch, the architecture of these weights")),
        }?;
        if let Some(resize) = self.resize {
            graph.info.preparation = Some(Preparation { resize, ..Preparation::center(1.0) });
        }
        Ok((graph, read))
    }

    /// Whether a file that is not an ONNX file has the weights of an architecture.
    pub fn is_weights(&self) -> bool {
        self.arch.is_some()
    }

    /// The first given option of weights, if there is one.
    fn given_of_weights(&self) -> Option<&'static str> {
        let given = [
            (self.classes.is_some(), "--classes"),
            (self.new_head, "--new-head"),
            (self.by_order, "--by-order"),
        ];
        given.iter().find(|(given, _)| *given).map(|(_, option)| *option)
    }

    /// The first given option, if there is one: none applies to a model file.
    pub fn given(&self) -> Option<&'static str> {
        let images = self.images.is_given().then_some("--mean, --std");
        let resize = self.resize.and(Some("--resize"));
        self.given_of_weights().or(self.size.and(Some("--size"))).or(resize).or(images)
    }

    /// Reads a whole network from the ONNX file `path`.
    fn network(&self, path: &Path) -> Result<(Graph, String)> {
        if let Some(option) = self.given_of_weights() {
            return Err(Error::invalid(format!("{option}: applies to weights of an architecture only")));
        }
        let graph = self.images.import(path, self.size.unwrap_or(OPEN_SIDE))?;
        let read = format!("{} layers read", graph.nodes().len() - 1);
        Ok((graph, read))
    }

    /// Reads the weights in `path` into the architecture `arch`.
    fn weights(&self, path: &Path, arch: &str, common: &Common) -> Result<(Graph, String)> {
        if self.images.is_given() {
            return Err(Error::invalid(
                "--mean, --std: apply to ONNX files only; an architecture has its own",
            ));
        }
        let mut graph = if is_file(arch) {
            // A model file has its own size.
            open_network(arch, self.classes, OPEN_SIDE, None)?
        } else {
            let published = lopper_models::pretraining(arch)?;
            let size = self.size.unwrap_or(published.size);
            let classes = self.classes.or(u32::try_from(published.classes).ok());
            let mut graph = open_network(arch, classes, size, None)?;
            // The normalization and preparation of the published weights; a model file stores its own.
            (graph.info.mean, graph.info.std) = (published.mean.to_vec(), published.std.to_vec());
            graph.info.preparation = Some(match size {
                size if size < WHOLE_BELOW => Preparation::center(1.0),
                size => published.preparation(size),
            });
            graph
        };
        let report = self.read_weights(path, &mut graph, arch, common.seed.unwrap_or(0))?;
        report_import(path, &report);
        Ok((graph, format!("{} tensors read", report.imported)))
    }

    /// Reads the weights into `graph`. If only the number of classes differs and the user gave one, or asks for a new
    /// head, the head is drawn.
    fn read_weights(&self, path: &Path, graph: &mut Graph, arch: &str, seed: u64) -> Result<ImportReport> {
        if self.new_head {
            return self.import_body(path, graph, seed);
        }
        self.read_into(path, graph, &[]).or_else(|error| match self.of_other_classes(path, graph, arch) {
            Some(_) if self.classes.is_some() && !is_file(arch) => self.import_body(path, graph, seed),
            other => Err(other.unwrap_or_else(|| self.with_hint(path, graph, error))),
        })
    }

    /// Reads the weights into `graph`, whose architecture may have other names in other repositories. The file may lack
    /// the layers `absent`.
    fn read_into(&self, path: &Path, graph: &mut Graph, absent: &[String]) -> Result<ImportReport> {
        let arch = graph.info.arch.clone();
        let rename = |theirs: &str| our_name(&arch, theirs);
        let auxiliary = |theirs: &str| is_auxiliary(&arch, theirs);
        let assignment =
            Assignment { rename: &rename, by_order: self.by_order, absent, auxiliary: &auxiliary };
        torchvision::import_assigned(graph, path, &assignment)
    }

    /// The number of outputs that the layer `name` of `graph` has in the file, if it is there.
    fn outputs_of(&self, path: &Path, graph: &Graph, name: &str) -> Result<Option<usize>> {
        let rename = |theirs: &str| our_name(&graph.info.arch, theirs);
        let assignment = Assignment { by_order: self.by_order, ..Assignment::named(&rename) };
        torchvision::outputs_of(graph, path, name, &assignment)
    }

    /// Reads weights of any number of classes, or without a last layer, into `graph`. Returns the network of their
    /// classes.
    fn body(&self, path: &Path, graph: &Graph) -> Result<(Graph, ImportReport)> {
        let last = last_layers(graph)?;
        let names: Vec<String> = last.into_iter().map(|id| graph.nodes()[id].name.clone()).collect();
        let outputs = self.outputs_of(path, graph, &names[0])?;
        let mut read = outputs.map_or_else(|| Ok(graph.clone()), |outputs| with_outputs(graph, outputs))?;
        let absent = if outputs.is_none() { &names[..] } else { &[] };
        let mut report = self.read_into(path, &mut read, absent)?;
        if outputs.is_none() {
            report.notes.push(format!("has no `{}`: it holds the body alone", names.join("`, `")));
        }
        Ok((read, report))
    }

    /// Reads a body into `graph`, then puts a new head for its own classes on it.
    fn import_body(&self, path: &Path, graph: &mut Graph, seed: u64) -> Result<ImportReport> {
        let (body, report) = self.body(path, graph)?;
        let info = graph.info.clone();
        let new = new_head(&body, info.classes.clone(), self.head.unwrap_or_default(), Some(seed))?;
        note(&new);
        *graph = new.graph;
        graph.info = info;
        Ok(report)
    }

    /// The error of weights that fit `graph` except for their last layer.
    fn of_other_classes(&self, path: &Path, graph: &Graph, arch: &str) -> Option<Error> {
        let name = graph.nodes()[last_layer(graph).ok()?].name.clone();
        let (expected, found) = (graph.info.classes.len(), self.outputs_of(path, graph, &name).ok()?);
        self.body(path, graph).ok()?;
        let draws = format!("--new-head keeps the body and draws a new `{name}`");
        let message = match found {
            None => format!("has no `{name}`: {draws}"),
            Some(found) if is_file(arch) => {
                format!("has {found} classes, expected {expected}: {draws}")
            }
            Some(found) => format!(
                "has {found} classes, expected {expected}: {draws}, --classes {found} reads them as they are"
            ),
        };
        Some(Error::file(path, message))
    }

    /// Adds to the error of other names that shapes and order would do.
    fn with_hint(&self, path: &Path, graph: &Graph, error: Error) -> Error {
        let rename = |_: &str| None;
        let assignment = Assignment { by_order: true, ..Assignment::named(&rename) };
        let fits = torchvision::import_assigned(&mut graph.clone(), path, &assignment).is_ok();
        match error {
            Error::File { path, message } if fits && !self.by_order => Error::File {
                path,
                message: format!("{message}; --by-order reads it: all shapes fit in their order"),
            },
            other => other,
        }
    }
}

/// Says how the weights were found in their file.
fn report_import(path: &Path, report: &ImportReport) {
    for remark in &report.notes {
        note(format_args!("{}: {remark}", path.display()));
    }
    let (counters, others): (Vec<_>, Vec<_>) =
        report.ignored.iter().map(String::as_str).partition(|name| torchvision::is_counter(name));
    if !counters.is_empty() {
        note(format_args!("{}: ignored counters of batches ({})", path.display(), counters.len()));
    }
    if !others.is_empty() {
        note(format_args!("{}: ignored {}, which are no tensors", path.display(), shortened(&others, 8)));
    }
}

/// Lists the first `most` names, and the number of further ones.
fn shortened(names: &[&str], most: usize) -> String {
    let shown = names[..names.len().min(most)].join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
