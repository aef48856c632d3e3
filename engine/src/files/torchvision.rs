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
//! The second permutation affects the readers of flattened features: the columns of the next linear layer, and any
//! batch norm before it. PyTorch counts batches in `num_batches_tracked`, which lopper does not need: it is written as
//! zero and ignored on import. Prefixes that a wrapper puts before every name (`module.`) are removed.

use crate::files::assignment::{COUNTER, Module};
use crate::files::file::check_numbers;
use crate::files::pytorch;
use crate::files::tensor_file::{self, Values};
use crate::files::weights_file::WeightsFile;
use crate::{Error, Graph, Layer, Node, Result, Tensor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

pub use super::assignment::{Assignment, Rename, is_counter};

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

/// The result of [`export_weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportReport {
    /// Number of subnormal weights, which were written as zeros: other programs compute with them many times slower.
    pub flushed: usize,
}

/// Writes the weights and running statistics of `graph` to `path` atomically, with PyTorch's names and layouts. Masked
/// weights are written as zeros.
///
/// # Errors
/// [`Error::File`] if `path` cannot be written, or if a layer has no counterpart in PyTorch (a compact convolution, a
/// sum of differently flattened images).
pub fn export_weights(graph: &Graph, path: impl AsRef<Path>) -> Result<ExportReport> {
    export_renamed(graph, path.as_ref(), &|name| name.to_string(), Vec::new())
}

/// Like [`export_weights`], as `torch.save` writes a state dict: in the order of the graph, for `torch.load`.
///
/// # Errors
/// Those of [`export_weights`].
pub fn export_state_dict(graph: &Graph, path: impl AsRef<Path>) -> Result<ExportReport> {
    let path = path.as_ref();
    let (tensors, report) = exported(graph, path, &|name| name.to_string(), Vec::new())?;
    pytorch::save(path, &tensors)?;
    Ok(report)
}

/// [`export_weights`] under the names that `rename` gives to layers, with `further` tensors.
pub(crate) fn export_renamed(
    graph: &Graph,
    path: &Path,
    rename: &dyn Fn(&str) -> String,
    further: Vec<(String, Tensor)>,
) -> Result<ExportReport> {
    let (mut tensors, report) = exported(graph, path, rename, further)?;
    // Eight-byte numbers come first, so that every number starts at a multiple of its size.
    tensors.sort_by_key(|(_, values)| matches!(values, Values::F32(_)));
    tensor_file::write(path, ("format", "pt".into()), &tensors)?;
    Ok(report)
}

/// The tensors to write to `path`, in the order of the graph.
fn exported(
    graph: &Graph,
    path: &Path,
    rename: &dyn Fn(&str) -> String,
    further: Vec<(String, Tensor)>,
) -> Result<(Vec<(String, Values<'static>)>, ExportReport)> {
    let mut tensors = Vec::new();
    let layouts = layouts(graph).map_err(|e| Error::file(path, format!("not written: {e}")))?;
    let mut report = ExportReport { flushed: 0 };
    let mut written = |mut tensor: Tensor| {
        let subnormal = tensor.data().iter().filter(|value| value.is_subnormal()).count();
        if subnormal > 0 {
            tensor.data_mut().iter_mut().filter(|value| value.is_subnormal()).for_each(|value| *value = 0.0);
        }
        report.flushed += subnormal;
        Values::F32(Cow::Owned(tensor))
    };
    for (node, layout) in graph.nodes().iter().zip(&layouts) {
        let name = rename(&node.name);
        for (slot, tensor) in slots(node) {
            tensors.push((format!("{name}.{slot}"), written(layout.export(slot, tensor))));
        }
        if matches!(node.layer, Layer::BatchNorm(_)) {
            tensors.push((format!("{name}{COUNTER}"), Values::Count(0)));
        }
    }
    tensors.extend(further.into_iter().map(|(name, tensor)| (name, written(tensor))));
    Ok((tensors, report))
}

/// Returns the number of outputs that the layer `name` of `graph` has in `path`, a file as [`import_assigned`] reads it: for
/// weights of another number of classes. `None` if the file has no weight of that layer.
///
/// # Errors
/// [`Error::File`] if the file cannot be read or the weight is not of numbers.
pub fn outputs_of(
    graph: &Graph,
    path: impl AsRef<Path>,
    name: &str,
    assignment: &Assignment,
) -> Result<Option<usize>> {
    let path = path.as_ref();
    let mut file = WeightsFile::read(path)?;
    let layers = modules(graph, &layouts(graph).map_err(|e| Error::file(path, e))?);
    if assignment.by_order {
        return Ok(Assignment::outputs_by_order(&layers, &file, name));
    }
    let names = assignment.names(&layers, &file, &mut Vec::new()).map_err(|e| Error::file(path, e))?;
    let Some(theirs) = names.get(&format!("{name}.weight")) else { return Ok(None) };
    Ok(file.take(theirs)?.and_then(|weight| weight.shape().first().copied()))
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
    import_assigned(graph, path, &Assignment { rename, by_order: false, absent: &[] })
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
            let stored = names.remove(&name).map(|theirs| file.take(&theirs)).transpose()?.flatten();
            match stored {
                None if assignment.absent.contains(&node.name) => {}
                None => problems.push(format!("`{name}` is missing")),
                Some(tensor) if tensor.shape() != expected => {
                    problems
                        .push(format!("`{name}` has the shape {:?}, expected {expected:?}", tensor.shape()));
                }
                Some(tensor) => {
                    found.insert(name, layout.import(slot, &tensor));
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

/// The parameters and running statistics of a node, by slot.
fn slots(node: &Node) -> Vec<(&'static str, &Tensor)> {
    let params = node.layer.params().into_iter().map(|(slot, param)| (slot, param.value()));
    params.chain(node.layer.buffers()).collect()
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

/// PyTorch's layout of a node's tensors.
enum Layout {
    /// The same as ours.
    Same,
    /// A convolution: the weight is `[O, C/G, KH, KW]`.
    Convolution,
    /// A linear layer over a flattened image: column `i` of PyTorch's weight is our column `order[i]`.
    Columns(Vec<usize>),
    /// A norm or slopes of a flattened image: PyTorch's feature `i` is our feature `order[i]`.
    Features(Vec<usize>),
}

impl Layout {
    fn export(&self, slot: &str, ours: &Tensor) -> Tensor {
        match self {
            Self::Convolution if slot == "weight" => ours.permute(&[0, 3, 1, 2]),
            Self::Columns(order) if slot == "weight" => ours.select(1, order),
            Self::Features(order) => ours.select(0, order),
            _ => ours.clone(),
        }
    }

    fn import(&self, slot: &str, theirs: &Tensor) -> Tensor {
        match self {
            Self::Convolution if slot == "weight" => theirs.permute(&[0, 2, 3, 1]),
            Self::Columns(order) if slot == "weight" => theirs.select(1, &inverse(order)),
            Self::Features(order) => theirs.select(0, &inverse(order)),
            _ => theirs.clone(),
        }
    }

    fn pytorch_shape(&self, ours: &[usize]) -> Vec<usize> {
        match (self, ours) {
            (Self::Convolution, &[o, kh, kw, c]) => vec![o, c, kh, kw],
            _ => ours.to_vec(),
        }
    }
}

/// The position of each element of `order`, a permutation.
pub(crate) fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(theirs, &ours)| inverse[ours] = theirs);
    inverse
}

/// The `channels` that a gathering reads, by PyTorch's position, of features in the order `order`.
pub(crate) fn gathered_positions(channels: &[u32], order: Option<&[usize]>) -> Vec<usize> {
    let channels = channels.iter().map(|&channel| channel as usize);
    match order.map(inverse) {
        Some(positions) => channels.map(|channel| positions[channel]).collect(),
        None => channels.collect(),
    }
}

/// The layout of every node.
fn layouts(graph: &Graph) -> Result<Vec<Layout>> {
    let orders = feature_orders(graph)?;
    let layout = |node: &Node| {
        let order = node.inputs.first().and_then(|&x| orders[x].clone());
        Ok(match (&node.layer, order) {
            (Layer::Conv2d(_), _) => Layout::Convolution,
            (Layer::CompactConv2d(_), _) => {
                let none = Error::invalid("a compact convolution has no counterpart in PyTorch");
                return Err(none.in_node(&node.name));
            }
            (Layer::Linear(_), Some(order)) => Layout::Columns(order),
            (Layer::BatchNorm(_) | Layer::LayerNorm(_) | Layer::PRelu(_), Some(order)) => {
                Layout::Features(order)
            }
            _ => Layout::Same,
        })
    };
    graph.nodes().iter().map(layout).collect()
}

/// For every node whose output consists of flattened images in an order other than PyTorch's, our feature at each
/// PyTorch position.
pub(crate) fn feature_orders(graph: &Graph) -> Result<Vec<Option<Vec<usize>>>> {
    let [h, w, c] = graph.info.input;
    let shapes = graph.shapes([1, h, w, c])?;
    let mut orders: Vec<Option<Vec<usize>>> = Vec::with_capacity(shapes.len());
    for node in graph.nodes() {
        let inputs = node.inputs.iter().map(|&i| (&orders[i], shapes[i].as_slice()));
        let order = match node.layer {
            Layer::Flatten => match shapes[node.inputs[0]][..] {
                [_, h, w, c] if h * w > 1 && c > 1 => Some(channels_first(h, w, c)),
                _ => orders[node.inputs[0]].clone(),
            },
            Layer::BatchNorm(_) | Layer::LayerNorm(_) | Layer::PRelu(_) => orders[node.inputs[0]].clone(),
            Layer::Activation(_) | Layer::Dropout { .. } => orders[node.inputs[0]].clone(),
            Layer::Add | Layer::Multiply
                if node.inputs.iter().any(|&i| orders[i] != orders[node.inputs[0]]) =>
            {
                let mixed = Error::invalid("combines features of differently flattened images");
                return Err(mixed.in_node(&node.name));
            }
            Layer::Add | Layer::Multiply => orders[node.inputs[0]].clone(),
            Layer::Concat => side_by_side(inputs),
            Layer::Input { .. }
            | Layer::Conv2d(_)
            | Layer::CompactConv2d(_)
            | Layer::Linear(_)
            | Layer::Pool(_)
            | Layer::Gather { .. }
            | Layer::Resize(_)
            | Layer::Dilate { .. }
            | Layer::PadShortcut { .. } => None,
        };
        orders.push(order);
    }
    Ok(orders)
}

/// Our index `(y·W + x)·C + c` of each feature, in the order `c, y, x`.
fn channels_first(h: usize, w: usize, c: usize) -> Vec<usize> {
    (0..c).flat_map(|channel| (0..h * w).map(move |pixel| pixel * c + channel)).collect()
}

/// The order of concatenated features.
fn side_by_side<'a>(
    parts: impl Iterator<Item = (&'a Option<Vec<usize>>, &'a [usize])> + Clone,
) -> Option<Vec<usize>> {
    parts.clone().find(|(order, _)| order.is_some())?;
    let mut joined = Vec::new();
    for (order, shape) in parts {
        let (start, len) = (joined.len(), shape[shape.len() - 1]);
        match order {
            Some(order) => joined.extend(order.iter().map(|&i| start + i)),
            None => joined.extend(start..start + len),
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pytorch_flattens_features_channel_by_channel() {
        // A 1×2 image of 3 channels: ours is [a0 b0 c0 a1 b1 c1], PyTorch's [a0 a1 b0 b1 c0 c1].
        assert_eq!(channels_first(1, 2, 3), [0, 3, 1, 4, 2, 5]);
        assert_eq!(inverse(&[0, 3, 1, 4, 2, 5]), [0, 2, 4, 1, 3, 5]);
    }
}
