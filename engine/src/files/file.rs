//! Model files: a `.safetensors` file that holds both the network's program and its weights.
//!
//! The header's metadata has one entry, `lopper`: a JSON object with a format version, the layout of convolution
//! weights (`OHWI`, the engine's layout) and the graph. Tensors are stored under their paths: parameters and running
//! statistics as `F32`, masks as `mask.rs` describes, mostly read from the zeros of their weights. So a pruned network
//! loads without the source code that built it, and every tool that reads safetensors can read dense weights. Weights with
//! many zeros or few different values are stored in a shorter form, without losing a bit (`forms/form.rs`).
//!
//! A file has the oldest format from 3 on that can hold it, so that an earlier program reads it, too; all are still read:
//!
//! | format | since it has |
//! | --- | --- |
//! | 8 | softmax as a layer |
//! | 7 | group norms |
//! | 6 | other kinds of layers that format 3 lacks (products, gatherings, layer norms, …), masks as codes |
//! | 5 | weights in shorter forms |
//! | 4 | masks as bits, of dense weights |
//! | 3 | how images are prepared; masks take a byte a weight |
//! | 2 | activations and pools as values |
//! | 1 | each activation and each pool is a layer of its own |

use crate::files::forms;
use crate::files::legacy::Graph1;
use crate::files::mask;
use crate::files::tensor_file::{self, TensorFile, Values};
use crate::layer::Activation;
use crate::{Error, Graph, Layer, Result};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::Path;

const KEY: &str = "lopper";
const VERSION: u32 = 8;
/// The version of a graph without softmaxes.
const VERSION_WITHOUT_SOFTMAX: u32 = 7;
/// The version of a graph without group norms.
const VERSION_WITHOUT_GROUP_NORMS: u32 = 6;
/// The version of a graph of layers that earlier formats have, whose masks are bits.
const VERSION_OF_OLD_LAYERS: u32 = 5;
/// The version of a graph whose weights are all dense.
const VERSION_OF_DENSE: u32 = 4;
/// The version of a graph without masks.
const VERSION_WITHOUT_MASKS: u32 = 3;
const LAYOUT: &str = "OHWI";

/// The fields that all format versions share.
#[derive(Deserialize)]
struct Preamble<'a> {
    version: u32,
    layout: Cow<'a, str>,
}

/// The `lopper` entry. `G` is `Graph` for reading and `&Graph` for writing.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program<G> {
    version: u32,
    layout: Cow<'static, str>,
    graph: G,
}

/// Writes `graph` to `path` atomically. The same graph gives the same bytes.
///
/// # Errors
/// [`Error::File`] if `path` cannot be written, or if [`load`] would reject the graph because it does not run on the
/// images that its `info` specifies or because a weight is not finite.
pub fn save(graph: &Graph, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    check(graph).map_err(|e| Error::file(path, format!("not written: {e}")))?;
    tensor_file::write(path, (KEY, program_of(graph, path)?), &aligned(tensors_of(graph, "")))
}

/// The size in bytes of the file that [`save`] would write for `graph`.
pub fn size(graph: &Graph) -> Result<u64> {
    let path = Path::new("model");
    tensor_file::size(path, (KEY, program_of(graph, path)?), &aligned(tensors_of(graph, "")))
}

/// The size in bytes of the file that [`save`] would write for `graph` after a training, when weights that are alike now, such
/// as biases that are zero, no longer are.
pub fn size_once_trained(graph: &Graph) -> Result<u64> {
    let path = Path::new("model");
    let (masked, dense): (Vec<_>, Vec<_>) = graph.params().partition(|(_, param)| param.mask().is_some());
    let masked = masked.iter().flat_map(|(name, param)| forms::stored(name, param));
    let dense = dense.iter().map(|(name, param)| (name.clone(), Values::F32(Cow::Borrowed(param.value()))));
    let tensors = masked.chain(dense).chain(buffers_of(graph, "")).collect();
    tensor_file::size(path, (KEY, program_of(graph, path)?), &aligned(tensors))
}

/// The `lopper` entry of `graph`; errors name `path`.
fn program_of(graph: &Graph, path: &Path) -> Result<String> {
    let program = Program { version: version(graph), layout: LAYOUT.into(), graph };
    serde_json::to_string(&program).map_err(|e| Error::file(path, e))
}

/// The oldest version that describes `graph`.
pub(crate) fn version(graph: &Graph) -> u32 {
    let any = |is: fn(&Layer) -> bool| graph.nodes().iter().any(|node| is(&node.layer));
    if any(|layer| matches!(layer, Layer::Softmax { .. })) {
        return VERSION;
    }
    if any(|layer| matches!(layer, Layer::GroupNorm(_))) {
        return VERSION_WITHOUT_SOFTMAX;
    }
    if any(is_new) {
        return VERSION_WITHOUT_GROUP_NORMS;
    }
    match (forms::in_graph(graph), mask::in_graph(graph)) {
        (true, _) if forms::codes_bits(graph) => VERSION_WITHOUT_GROUP_NORMS,
        (true, _) => VERSION_OF_OLD_LAYERS,
        (false, true) => VERSION_OF_DENSE,
        (false, false) => VERSION_WITHOUT_MASKS,
    }
}

/// Whether formats before 6 do not have this layer.
fn is_new(layer: &Layer) -> bool {
    match layer {
        Layer::LayerNorm(_) | Layer::PRelu(_) | Layer::Multiply => true,
        Layer::Gather { .. } | Layer::Resize(_) | Layer::Dilate { .. } => true,
        Layer::Activation(activation) => !matches!(
            activation,
            Activation::None
                | Activation::Relu
                | Activation::Relu6
                | Activation::Clamp { .. }
                | Activation::Sigmoid
                | Activation::Silu
        ),
        _ => false,
    }
}

/// The tensors of `graph`, with `prefix` before each name.
pub(crate) fn tensors_of<'a>(graph: &'a Graph, prefix: &str) -> Vec<(String, Values<'a>)> {
    let mut tensors = Vec::new();
    for (name, param) in graph.params() {
        tensors.extend(forms::stored(&format!("{prefix}{name}"), param));
    }
    tensors.extend(buffers_of(graph, prefix));
    tensors
}

/// The running statistics of `graph`, with `prefix` before each name.
fn buffers_of<'a>(graph: &'a Graph, prefix: &str) -> impl Iterator<Item = (String, Values<'a>)> {
    graph.buffers().map(move |(name, t)| (format!("{prefix}{name}"), Values::F32(Cow::Borrowed(t))))
}

/// Sorts `tensors` such that every number starts at a multiple of its size.
pub(crate) fn aligned<'a>(mut tensors: Vec<(String, Values<'a>)>) -> Vec<(String, Values<'a>)> {
    tensors.sort_by_key(|(_, values)| std::cmp::Reverse(values.alignment()));
    tensors
}

/// Reads the network in `path`.
///
/// # Errors
/// [`Error::File`], with the reason, if the file is truncated or not a lopper model; if a tensor is missing, unknown,
/// of the wrong shape or type, or holds a number that is not finite; or if the graph is wired wrongly or does not run
/// on the images that it specifies.
pub fn load(path: impl AsRef<Path>) -> Result<Graph> {
    let path = path.as_ref();
    let mut file = TensorFile::read(path)?;
    let wrong = |e: String| Error::file(path, e);
    let mut graph = program(&file).map_err(wrong)?;
    take_tensors(&mut graph, &mut file, "").map_err(|e| e.in_file(path))?;
    if let Some(name) = file.left().next() {
        return Err(wrong(format!("tensor `{name}` belongs to no layer")));
    }
    Ok(graph)
}

/// Fills `graph`, which has only its program, with the tensors of `file` whose names start with `prefix`, and checks
/// it.
pub(crate) fn take_tensors(graph: &mut Graph, file: &mut TensorFile, prefix: &str) -> Result<()> {
    graph.check()?;
    let missing = |name: &str| Error::invalid(format!("tensor `{prefix}{name}` is missing"));
    for (name, param) in graph.params_mut() {
        let path = format!("{prefix}{name}");
        let (value, mask) = forms::take(file, &path)?.ok_or_else(|| missing(&name))?;
        let wrong = |e| Error::invalid(format!("tensor `{path}.mask`: {e}"));
        param.replace(value, mask).map_err(wrong)?;
    }
    for (name, buffer) in graph.buffers_mut() {
        let value = file.take(&format!("{prefix}{name}"), &[Dtype::F32])?;
        *buffer = value.ok_or_else(|| missing(&name))?;
    }
    check(graph)
}

/// The graph in the header, without its tensors.
fn program(file: &TensorFile) -> Result<Graph, String> {
    let text = file
        .metadata(KEY)
        .ok_or("not a lopper model: its header has no graph (`lopper import` and `convert` read weights with --arch)")?;
    let preamble: Preamble =
        serde_json::from_str(text).map_err(|e| format!("the header's `{KEY}` entry is damaged: {e}"))?;
    let damaged = |e| format!("the graph in the header is damaged: {e}");
    match (preamble.version, preamble.layout.as_ref()) {
        (1, LAYOUT) => serde_json::from_str(text).map(|p: Program<Graph1>| p.graph.into()).map_err(damaged),
        (2..=VERSION, LAYOUT) => serde_json::from_str(text).map(|p: Program<Graph>| p.graph).map_err(damaged),
        (version, layout) => Err(format!(
            "model format {version} with layout {layout}: this version of lopper reads formats 1 to {VERSION} with \
             layout {LAYOUT}"
        )),
    }
}

/// Checks the guarantees of a model file: the graph runs on one image of the size that it specifies, and its numbers
/// are finite. Later operations on the graph then cannot panic.
pub(crate) fn check(graph: &Graph) -> Result<()> {
    graph.check_layers()?;
    let info = &graph.info;
    let [h, w, c] = info.input;
    if info.input.contains(&0) {
        return Err(Error::invalid(format!("the model does not specify its image size: {:?}", info.input)));
    }
    let shapes = graph.shapes([1, h, w, c])?;
    let outputs = shapes[graph.output()].last().copied();
    if !info.classes.is_empty() && outputs != Some(info.classes.len()) {
        let (names, outputs) = (info.classes.len(), outputs.unwrap_or(0));
        return Err(Error::invalid(format!("the model names {names} classes and has {outputs} outputs")));
    }
    if !info.folders.is_empty() && info.folders.len() != info.classes.len() {
        let (folders, names) = (info.folders.len(), info.classes.len());
        return Err(Error::invalid(format!("the model names {names} classes and {folders} class folders")));
    }
    info.preparation.map_or(Ok(()), |preparation| preparation.check())?;
    for (what, list) in [("means", &info.mean), ("standard deviations", &info.std)] {
        let fits = list.is_empty() || list.len() == c;
        if !fits || list.iter().any(|v| !v.is_finite()) || (what != "means" && list.iter().any(|&v| v <= 0.0))
        {
            return Err(Error::invalid(format!("{list:?} are not valid {what} for {c} image channels")));
        }
    }
    check_numbers(graph)
}

/// Checks that all weights and statistics are finite, and that no variance is negative.
pub(crate) fn check_numbers(graph: &Graph) -> Result<()> {
    let finite = |name: &str, values: &[f32]| match values.iter().find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(v) => Err(Error::invalid(format!("tensor `{name}` holds {v}"))),
    };
    for (name, param) in graph.params() {
        finite(&name, param.value().data())?;
    }
    for (name, buffer) in graph.buffers() {
        finite(&name, buffer.data())?;
        if name.ends_with(".running_var") && buffer.data().iter().any(|&v| v < 0.0) {
            return Err(Error::invalid(format!("tensor `{name}` holds a negative variance")));
        }
    }
    for node in graph.nodes() {
        if let Layer::CompactConv2d(compact) = &node.layer {
            finite(&format!("{}.fill", node.name), &compact.fill)?;
        }
    }
    Ok(())
}
