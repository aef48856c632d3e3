//! Export of weights for PyTorch, as safetensors or as a state dict: the other half of [`torchvision`](super::torchvision).

use crate::files::assignment::COUNTER;
use crate::files::pytorch;
use crate::files::pytorch_layout::{Layout, layouts, slots};
use crate::files::tensor_file::{self, Values};
use crate::{Error, Graph, Layer, Node, Result, Tensor, atomic};
use std::borrow::Cow;
use std::path::Path;

/// What a tensor is called where its network is published, by its name here (`layer1.0.conv1.weight`), and its number of axes
/// there, if those of one element at the end differ. `None` if it has the same name and axes.
pub type Published<'a> = &'a dyn Fn(&str) -> Option<(String, Option<usize>)>;

/// A file of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsFormat {
    /// Safetensors.
    Safetensors,
    /// As `torch.save` writes a state dict: in the order of the graph, for `torch.load`.
    StateDict,
}

/// The result of [`export_weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportReport {
    /// Number of subnormal weights, which were written as zeros: other programs compute with them many times slower.
    pub flushed: usize,
}

/// Writes the weights and running statistics of `graph` to `path` atomically, with the names of its layers and PyTorch's
/// layouts. Masked weights are written as zeros.
///
/// # Errors
/// [`Error::File`] if `path` cannot be written, or if a layer has no counterpart in PyTorch (a compact convolution, a
/// sum of differently flattened images).
pub fn export_weights(graph: &Graph, path: impl AsRef<Path>) -> Result<ExportReport> {
    export_published(graph, path, &|_| None, WeightsFormat::Safetensors)
}

/// Like [`export_weights`], as a state dict.
///
/// # Errors
/// Those of [`export_weights`].
pub fn export_state_dict(graph: &Graph, path: impl AsRef<Path>) -> Result<ExportReport> {
    export_published(graph, path, &|_| None, WeightsFormat::StateDict)
}

/// [`export_weights`] under the names, and with the shapes, that `published` gives to tensors, in any format.
///
/// # Errors
/// Those of [`export_weights`].
pub fn export_published(
    graph: &Graph,
    path: impl AsRef<Path>,
    published: Published,
    format: WeightsFormat,
) -> Result<ExportReport> {
    let path = path.as_ref();
    let (tensors, report) = exported(graph, path, published)?;
    match format {
        WeightsFormat::Safetensors => tensor_file::write(path, for_pytorch(), &in_order(tensors))?,
        WeightsFormat::StateDict => pytorch::save(path, &tensors)?,
    }
    Ok(report)
}

/// The names and shapes of what [`export_published`] writes, in the order of the graph, without batch counters.
///
/// # Errors
/// If a layer has no counterpart in PyTorch.
pub fn published_tensors(graph: &Graph, published: Published) -> Result<Vec<(String, Vec<usize>)>> {
    let layouts = layouts(graph)?;
    let of_node = |(node, layout): (&Node, &Layout)| -> Vec<(String, Vec<usize>)> {
        let place = |(slot, tensor): (&str, &Tensor)| {
            placed(published, format!("{}.{slot}", node.name), layout.pytorch_shape(tensor.shape()))
        };
        slots(node).into_iter().map(place).collect()
    };
    Ok(graph.nodes().iter().zip(&layouts).flat_map(of_node).collect())
}

/// [`export_weights`] to `path` under the names that `rename` gives to layers, with `further` tensors, and together with
/// the file `module`, whose `text` refers to them.
pub(crate) fn export_renamed(
    graph: &Graph,
    path: &Path,
    (module, text): (&Path, &str),
    rename: &dyn Fn(&str) -> String,
    further: Vec<(String, Tensor)>,
) -> Result<ExportReport> {
    let renamed = |ours: &str| {
        let (layer, slot) = ours.rsplit_once('.')?;
        Some((format!("{}.{slot}", rename(layer)), None))
    };
    let (mut tensors, mut report) = exported(graph, path, &renamed)?;
    for (name, mut tensor) in further {
        report.flushed += flush(&mut tensor);
        tensors.push((name, Values::F32(Cow::Owned(tensor))));
    }
    let tensors = in_order(tensors);
    let weights = tensor_file::content(path, for_pytorch(), &tensors)?;
    atomic::write_pair([path, module], weights, |file| file.write_all(text.as_bytes()))?;
    Ok(report)
}

/// The metadata of a file for PyTorch.
fn for_pytorch() -> (&'static str, String) {
    ("format", "pt".into())
}

/// `tensors` in the order of a file.
fn in_order(mut tensors: Vec<(String, Values<'static>)>) -> Vec<(String, Values<'static>)> {
    // Eight-byte numbers come first, so that every number starts at a multiple of its size.
    tensors.sort_by_key(|(_, values)| matches!(values, Values::F32(_)));
    tensors
}

/// The tensors to write to `path`, in the order of the graph.
fn exported(
    graph: &Graph,
    path: &Path,
    published: Published,
) -> Result<(Vec<(String, Values<'static>)>, ExportReport)> {
    let mut tensors = Vec::new();
    let layouts = layouts(graph).map_err(|e| Error::file(path, format!("not written: {e}")))?;
    let mut report = ExportReport { flushed: 0 };
    for (node, layout) in graph.nodes().iter().zip(&layouts) {
        for (slot, tensor) in slots(node) {
            let mut tensor = layout.export(slot, tensor);
            report.flushed += flush(&mut tensor);
            let ours = format!("{}.{slot}", node.name);
            let (name, shape) = placed(published, ours, tensor.shape().to_vec());
            tensors.push((name, Values::F32(Cow::Owned(tensor.reshape(&shape)?))));
        }
        if matches!(node.layer, Layer::BatchNorm(_)) {
            let (name, _) = placed(published, format!("{}{COUNTER}", node.name), Vec::new());
            tensors.push((name, Values::Count(0)));
        }
    }
    Ok((tensors, report))
}

/// The name of the tensor `ours` of `shape`, and its shape, as they are `published`.
fn placed(published: Published, ours: String, mut shape: Vec<usize>) -> (String, Vec<usize>) {
    let Some((name, axes)) = published(&ours) else { return (ours, shape) };
    if let Some(axes) = axes {
        while shape.len() > axes && shape.last() == Some(&1) {
            shape.pop();
        }
        shape.resize(shape.len().max(axes), 1);
    }
    (name, shape)
}

/// Replaces subnormal numbers by zeros, and returns how many there were.
fn flush(tensor: &mut Tensor) -> usize {
    let subnormal = tensor.data().iter().filter(|value| value.is_subnormal()).count();
    if subnormal > 0 {
        tensor.data_mut().iter_mut().filter(|value| value.is_subnormal()).for_each(|value| *value = 0.0);
    }
    subnormal
}
