//! Writes a graph as a file of Python, and its weights beside it.

use super::names::{paths, weights_of};
use super::source::source;
use crate::files::{compact, torchvision};
use crate::{Error, Graph, Layer, Result, Tensor};
use std::path::Path;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Number of subnormal weights, which were written as zeros.
    pub flushed: usize,
}

/// Writes `graph` as a module of PyTorch to `path`, and its weights to [`weights_of`] that, atomically and together.
/// Its parameters have the names of torchvision where layers do. Compact convolutions are written with all their channels
/// and zeros.
///
/// # Errors
/// [`Error::File`] if a file cannot be written, or if the graph does not run on the images that its `info` specifies.
pub fn export(graph: &Graph, path: impl AsRef<Path>) -> Result<Exported> {
    let path = path.as_ref();
    let refused = |e: Error| Error::file(path, format!("not written: {e}"));
    let [h, w, c] = graph.info.input;
    let shapes = graph.shapes([1, h, w, c]).map_err(refused)?;
    let (mut graph, mut terms) = (graph.clone(), vec![None; graph.nodes().len()]);
    let paths = paths(&graph);
    for id in 0..graph.nodes().len() {
        let node = &graph.nodes()[id];
        let Layer::CompactConv2d(conv) = &node.layer else { continue };
        let geometry = conv.geometry(&shapes[node.inputs[0]]).map_err(refused)?;
        if let Some(carried) = compact::carried_of_all(conv, &geometry) {
            let mut path = paths[&node.name].clone();
            path[0].push_str("_carried");
            terms[id] = Some((path, carried));
        }
        let dense = Layer::Conv2d(compact::dense(conv));
        *graph.layer_mut(id) = dense;
    }
    let further: Vec<(String, Tensor)> = terms
        .iter()
        .flatten()
        .map(|(path, term)| (format!("{}.term", path.join(".")), term.clone()))
        .collect();
    let weights = weights_of(path);
    let text = source(&graph, &shapes, (&paths, &terms), path).map_err(refused)?;
    let rename = |name: &str| paths.get(name).map_or_else(|| name.to_string(), |path| path.join("."));
    let report = torchvision::export_renamed(&graph, &weights, (path, &text), &rename, further)?;
    Ok(Exported { flushed: report.flushed })
}
