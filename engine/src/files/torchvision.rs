//! Import of weights with the names and layouts of PyTorch's torchvision, from `.safetensors` or PyTorch's own files,
//! and export to both.
//!
//! A node's name is torchvision's module path, so names agree without mapping (`layer1.0.conv1.weight`,
//! `bn1.running_mean`). Layouts are permuted:
//!
//! | here | PyTorch |
//! | --- | --- |
//! | convolution `[O, KH, KW, C/G]` | `[O, C/G, KH, KW]` |
//! | features of a flattened image in the order `H, W, C` | `C, H, W` |
//!
//! Axes of one element at the end of a shape do not matter, so the linear layers over pixels of ConvNeXt become 1×1
//! convolutions. The second permutation affects the readers of flattened features: the columns of the next linear
//! layer, and any batch norm before it. PyTorch counts batches in `num_batches_tracked`, which lopper does not need: it
//! is written as zero and ignored on import. Prefixes that a wrapper puts before every name (`module.`) are removed.

use crate::files::assignment::{Module, agree};
use crate::files::file::check_numbers;
use crate::files::pytorch_layout::{Layout, layouts, slots};
use crate::files::weights_file::WeightsFile;
use crate::{Error, Graph, Node, Result, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

pub use super::assignment::{Assignment, Rename, is_counter};
pub(crate) use super::weights_export::export_renamed;
pub use super::weights_export::{
    ExportReport, Published, WeightsFormat, export_published, export_state_dict, export_weights,
    published_tensors,
};

/// The result of [`import_weights`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// Number of tensors read into the graph.
    pub imported: usize,
    /// Names of the entries that were ignored: batch counters, and what is no tensor.
    pub ignored: Vec<String>,
    /// Remarks on how the file was read, for the user.
    pub notes: Vec<String>,
}

/// Returns the number of outputs that the layer `name` of `graph` has in `path`, a file as [`import_assigned`] reads
/// it: for weights of another number of classes. `None` if the file has no weight of that layer, or one that differs in more
/// than its outputs.
///
/// # Errors
/// [`Error::File`] if the file cannot be read.
pub fn outputs_of(
    graph: &Graph,
    path: impl AsRef<Path>,
    name: &str,
    assignment: &Assignment,
) -> Result<Option<usize>> {
    let path = path.as_ref();
    let file = WeightsFile::read(path)?;
    let layers = modules(graph, &layouts(graph).map_err(|e| Error::file(path, e))?);
    if assignment.by_order {
        return Ok(Assignment::outputs_by_order(&layers, &file, name));
    }
    let names = assignment.names(&layers, &file, &mut Vec::new()).map_err(|e| Error::file(path, e))?;
    let theirs = names.get(&format!("{name}.weight")).and_then(|theirs| file.shape(theirs));
    let ours = layers.iter().find(|layer| layer.name == name).and_then(|layer| layer.tensors.get("weight"));
    // A weight without numbers may claim any number of outputs.
    Ok(theirs.zip(ours).and_then(|(theirs, ours)| {
        let outputs = *theirs.first()?;
        agree(&theirs, &[&[outputs], ours.get(1..)?].concat()).then_some(outputs)
    }))
}

/// Replaces the weights and running statistics of `graph` with those in `path`, a safetensors file or one that
/// `torch.save` wrote, under PyTorch's names. Floating-point numbers of any type are rounded to `f32`, and integers
/// must be exact. Masks stay in place and keep their weights at zero.
///
/// # Errors
/// [`Error::File`], with a list of the tensors that are missing, unexpected or of the wrong shape, or with the name of
/// a tensor that holds values that are not finite; or if a file of PyTorch refers to anything but tensors and
/// dictionaries. `graph` is then unchanged.
pub fn import_weights(graph: &mut Graph, path: impl AsRef<Path>) -> Result<ImportReport> {
    import_renamed(graph, path, &|_| None)
}

/// [`import_weights`] of tensors whose names differ from ours: `rename` gets the name in the file, without prefixes.
///
/// # Errors
/// Those of [`import_weights`]; [`Error::File`] if two names become one.
pub fn import_renamed(graph: &mut Graph, path: impl AsRef<Path>, rename: Rename) -> Result<ImportReport> {
    import_assigned(graph, path, &Assignment::named(rename))
}

/// [`import_weights`] as `assignment` says: under other names, by shapes and order, or without some of the layers.
///
/// # Errors
/// Those of [`import_weights`]; [`Error::File`] if two names become one, or if order does not decide.
pub fn import_assigned(
    graph: &mut Graph,
    path: impl AsRef<Path>,
    assignment: &Assignment,
) -> Result<ImportReport> {
    let path = path.as_ref();
    let mut file = WeightsFile::read(path)?;
    let layouts = layouts(graph).map_err(|e| Error::file(path, e))?;
    let (mut ignored, mut notes) = (file.ignored().to_vec(), file.notes().to_vec());
    let layers = modules(graph, &layouts);
    let mut names = assignment.names(&layers, &file, &mut notes).map_err(|e| Error::file(path, e))?;
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    for (node, layout) in graph.nodes().iter().zip(&layouts) {
        for (slot, current) in slots(node) {
            let name = format!("{}.{slot}", node.name);
            let expected = layout.pytorch_shape(current.shape());
            let stored = names.remove(&name).and_then(|theirs| Some((file.shape(&theirs)?, theirs)));
            match stored {
                None if assignment.absent.contains(&node.name) => {}
                None => problems.push(format!("`{name}` is missing")),
                Some((shape, _)) if !agree(&shape, &expected) => {
                    problems.push(format!("`{name}` has the shape {shape:?}, expected {expected:?}"));
                }
                Some((_, theirs)) => {
                    if let Some(tensor) = file.take(&theirs)? {
                        found.insert(name, layout.import(slot, &tensor.reshape(&expected)?));
                    }
                }
            }
        }
    }
    let (counters, unexpected): (Vec<_>, Vec<_>) = names.into_values().partition(|name| is_counter(name));
    ignored.extend(counters);
    problems.extend(unexpected.iter().map(|name| format!("`{name}` belongs to no layer")));
    if !problems.is_empty() {
        return Err(Error::file(path, listing(&problems)));
    }
    let report = ImportReport { imported: found.len(), ignored, notes };
    let mut filled = graph.clone();
    for (name, param) in filled.params_mut() {
        if let Some(value) = found.remove(&name) {
            param.set_value(value)?;
        }
    }
    for (name, buffer) in filled.buffers_mut() {
        if let Some(value) = found.remove(&name) {
            *buffer = value;
        }
    }
    check_numbers(&filled).map_err(|e| Error::file(path, e))?;
    *graph = filled;
    Ok(report)
}

/// Lists the first problems, and the number of further ones.
fn listing(problems: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = problems[..problems.len().min(SHOWN)].join("; ");
    if problems.len() > SHOWN {
        text += &format!("; and {} more", problems.len() - SHOWN);
    }
    text
}

/// The layers of `graph` with weights.
fn modules(graph: &Graph, layouts: &[Layout]) -> Vec<Module> {
    let module = |(node, layout): (&Node, &Layout)| {
        let shape = |(slot, tensor): (&str, &Tensor)| (slot.into(), layout.pytorch_shape(tensor.shape()));
        Module { name: node.name.clone(), tensors: slots(node).into_iter().map(shape).collect() }
    };
    let all = graph.nodes().iter().zip(layouts).map(module);
    all.filter(|module| !module.tensors.is_empty()).collect()
}
