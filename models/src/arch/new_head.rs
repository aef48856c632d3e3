//! A new head for a network that was trained for other classes: the first step of transfer learning.

use super::head::fastai;
use super::options::{Head, numbered_classes};
use crate::builder::Builder;
use crate::data::thousands;
use crate::init::Init;
use lopper_engine::layer::{BatchNorm, Conv2d, Linear, Pool, Window};
use lopper_engine::memory::{self, bytes_of};
use lopper_engine::{Error, Graph, Layer, NodeId, Param, Result, Tensor};
use std::fmt;

/// A network with a new head.
#[derive(Clone, Debug)]
pub struct NewHead {
    /// The network.
    pub graph: Graph,
    /// The layers that were drawn.
    pub drawn: Vec<String>,
    /// The layers with parameters that are gone.
    pub replaced: Vec<String>,
    /// Number of parameters that are kept.
    pub kept: u64,
}

/// Puts a new head for `classes` on the body of `graph`, with weights drawn from `seed`; with `None` they are zero.
///
/// ```text
/// own      … ─ flatten ─ linear ─ relu ─ [linear]         the last layer, drawn with PyTorch's defaults
/// fastai   … ─ image ─ [pool ─ flatten ─ linear ─ …]      everything behind the last image of the body
/// ```
///
/// `Head::Own` keeps the kind of head that the network has and draws its last layer anew. If that is the second of two
/// factors, as factorization makes them (a linear layer without a bias directly before it), one layer replaces both,
/// because the first would limit the rank of the new one. `Head::Fastai` replaces the classifier by fastai's head; the
/// pools that adapt the last image for the classifier go with it.
///
/// The architecture, image size, normalization and preparation stay, and so do all other parameters, masks and running
/// statistics.
///
/// # Errors
/// [`Error::Invalid`], with the layer, if no single layer makes the classes, or if the end of the body is unknown.
pub fn new_head(graph: &Graph, classes: Vec<String>, head: Head, seed: Option<u64>) -> Result<NewHead> {
    if classes.is_empty() {
        return Err(Error::invalid("new head: expected at least one class"));
    }
    let mut parts = match head {
        Head::Own => redrawn(graph, classes.len(), seed)?,
        Head::Fastai => with_fastai(graph, classes.len(), seed)?,
    };
    let [h, w, c] = graph.info.input;
    let shapes = parts.graph.shapes([1, h, w, c])?;
    let (found, expected) = (&shapes[parts.graph.output()], [1, classes.len()]);
    if found[..] != expected {
        return Err(Error::invalid(format!(
            "new head: expected an output of the shape {expected:?}, found {found:?}"
        )));
    }
    parts.graph.info.classes = classes;
    parts.graph.info.folders.clear();
    let params = |layer: &Layer| layer.params().iter().map(|(_, p)| p.value().len() as u64).sum::<u64>();
    let replaced = || parts.replaced.iter().map(|&id| &graph.nodes()[id]).filter(|n| params(&n.layer) > 0);
    Ok(NewHead {
        kept: graph.param_count() - replaced().map(|node| params(&node.layer)).sum::<u64>(),
        replaced: replaced().map(|node| node.name.clone()).collect(),
        drawn: parts.drawn,
        graph: parts.graph,
    })
}

impl fmt::Display for NewHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (drawn, replaced) = (self.drawn.join(", "), self.replaced.join(", "));
        let (classes, kept) = (self.graph.info.classes.len(), thousands(self.kept));
        let instead = if drawn == replaced { String::new() } else { format!(" instead of {replaced}") };
        write!(
            f,
            "new head: drew {drawn} for {classes} classes{instead}; kept all other layers ({kept} parameters)"
        )
    }
}

/// A network with a new head, and what the head consists of.
struct Parts {
    graph: Graph,
    /// Layers of the old network that are gone.
    replaced: Vec<NodeId>,
    /// Layers with parameters that were drawn.
    drawn: Vec<String>,
}

/// The layer of `graph` that makes its classes: the last linear layer or convolution, which only layers without
/// weights follow.
///
/// # Errors
/// [`Error::Invalid`] if the output has several sources or none.
pub fn last_layer(graph: &Graph) -> Result<NodeId> {
    Ok(last_layers(graph)?[0])
}

/// The last layer and the batch norms behind it, which have a channel for each class.
///
/// # Errors
/// Those of [`last_layer`].
pub fn last_layers(graph: &Graph) -> Result<Vec<NodeId>> {
    let (mut id, mut norms) = (graph.output(), Vec::new());
    loop {
        let node = &graph.nodes()[id];
        match &node.layer {
            Layer::Linear(_) | Layer::Conv2d(_) => break,
            Layer::BatchNorm(_) => norms.push(id),
            Layer::Activation(_) | Layer::Pool(_) | Layer::Flatten | Layer::Dropout { .. } => {}
            Layer::Softmax { .. } | Layer::Resize(_) => {}
            Layer::Input { .. }
            | Layer::CompactConv2d(_)
            | Layer::LayerNorm(_)
            | Layer::GroupNorm(_)
            | Layer::PRelu(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Concat
            | Layer::Gather { .. }
            | Layer::Dilate { .. }
            | Layer::PadShortcut { .. } => {
                return Err(Error::invalid(format!(
                    "new head: expected a linear layer or a convolution that makes the classes, found layer `{}` \
                     ({}); fastai's head replaces everything behind the last image",
                    node.name,
                    node.layer.kind()
                )));
            }
        }
        id = node.inputs[0];
    }
    Ok([vec![id], norms].concat())
}

/// A copy of `graph` whose last layer has `outputs` outputs and zero weights, to read weights of as many classes into.
///
/// # Errors
/// Those of [`last_layer`]; [`Error::Invalid`] if the layer does not fit into memory.
pub fn with_outputs(graph: &Graph, outputs: usize) -> Result<Graph> {
    let (last, mut graph) = (last_layers(graph)?, graph.clone());
    draw(&mut graph, last[0], None, outputs, None)?;
    for &norm in &last[1..] {
        *graph.layer_mut(norm) = Layer::BatchNorm(BatchNorm::new(outputs));
    }
    graph.info.classes = numbered_classes(outputs);
    graph.info.folders.clear();
    Ok(graph)
}

/// Draws the last layer anew.
fn redrawn(graph: &Graph, classes: usize, seed: Option<u64>) -> Result<Parts> {
    let (mut replaced, mut graph) = (last_layers(graph)?, graph.clone());
    let last = replaced[0];
    for &norm in &replaced[1..] {
        *graph.layer_mut(norm) = Layer::BatchNorm(BatchNorm::new(classes));
    }
    let mut drawn: Vec<String> = replaced.iter().map(|&id| graph.nodes()[id].name.clone()).collect();
    match first_factor(&graph, last) {
        None => draw(&mut graph, last, None, classes, seed)?,
        Some((first, inputs)) => {
            if let Some(name) = common_name(&graph, first, last) {
                graph.rename(last, name.clone())?;
                drawn[0] = name;
            }
            draw(&mut graph, last, Some(inputs), classes, seed)?;
            graph.bypass(first)?;
            replaced.insert(0, first);
        }
    }
    Ok(Parts { graph, replaced, drawn })
}

/// The linear layer without a bias that only the linear layer `last` reads, if there is one, and its number of inputs:
/// the first of the two factors of one layer.
fn first_factor(graph: &Graph, last: NodeId) -> Option<(NodeId, usize)> {
    let node = &graph.nodes()[last];
    let first = *node.inputs.first()?;
    match (&graph.nodes()[first].layer, &node.layer) {
        (Layer::Linear(factor @ Linear { bias: None, .. }), Layer::Linear(_)) => {
            (graph.readers()[first] == [last]).then(|| (first, factor.in_features()))
        }
        _ => None,
    }
}

/// The name of the layer whose factors are called `name.0` and `name.1`, if no other layer has it.
fn common_name(graph: &Graph, first: NodeId, last: NodeId) -> Option<String> {
    let name = graph.nodes()[first].name.strip_suffix(".0")?;
    let is_common = graph.nodes()[last].name.strip_suffix(".1") == Some(name) && graph.id(name).is_err();
    is_common.then(|| name.to_string())
}

/// Gives layer `id` new weights for as many outputs as there are classes, and, if it is linear, for as many `inputs`.
fn draw(
    graph: &mut Graph,
    id: NodeId,
    inputs: Option<usize>,
    classes: usize,
    seed: Option<u64>,
) -> Result<()> {
    let name = graph.nodes()[id].name.clone();
    let (weight, bias) = match graph.layer_mut(id) {
        Layer::Linear(Linear { weight, bias }) => (weight, bias),
        Layer::Conv2d(Conv2d { weight, bias, groups, .. }) => {
            if *groups != 1 {
                return Err(Error::invalid(format!(
                    "new head: layer `{name}`: expected a convolution in one group, found {groups} groups"
                )));
            }
            (weight, bias)
        }
        _ => unreachable!("a last layer"),
    };
    let mut shape = weight.value().shape().to_vec();
    shape[0] = classes;
    shape[1] = inputs.unwrap_or(shape[1]);
    memory::require(format_args!("layer `{name}`: its weights"), bytes_of::<f32>(shape.iter().copied()))?;
    let value = |slot: &str, shape: &[usize], draw: &dyn Fn(u64, &str) -> Tensor| match seed {
        Some(seed) => draw(seed, &format!("{name}.{slot}")),
        None => Tensor::zeros(shape),
    };
    let fan_in = shape[1..].iter().product();
    *weight = Param::new(value("weight", &shape, &|seed, path| Init::Uniform.weight(seed, path, &shape)));
    if bias.is_some() {
        let constants = |seed, path: &str| Init::Uniform.bias(seed, path, classes, fan_in);
        *bias = Some(Param::new(value("bias", &[classes], &constants)));
    }
    Ok(())
}

/// Replaces everything behind the last image by fastai's head.
fn with_fastai(graph: &Graph, classes: usize, seed: Option<u64>) -> Result<Parts> {
    let end = last_image(graph)?;
    let mut needed = vec![false; graph.nodes().len()];
    needed[end] = true;
    for id in (0..=end).rev() {
        if needed[id] {
            graph.nodes()[id].inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    let Layer::Input { channels } = graph.nodes()[0].layer else {
        return Err(Error::invalid("a graph must start with its input"));
    };
    let mut body = Graph::new(channels);
    body.rename(0, graph.nodes()[0].name.clone())?;
    body.info = graph.info.clone();
    let mut moved = vec![0; graph.nodes().len()];
    for (id, node) in graph.nodes().iter().enumerate().skip(1).filter(|(id, _)| needed[*id]) {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|&input| moved[input]).collect();
        moved[id] = body.push(node.name.clone(), node.layer.clone(), &inputs)?;
    }
    let kept = body.nodes().len();
    let mut net = Builder::continued(body, graph.info.input, seed)?;
    fastai(&mut net, classes);
    let graph_with_head = net.finish()?;
    let new = graph_with_head.nodes()[kept..].iter().filter(|node| !node.layer.params().is_empty());
    Ok(Parts {
        drawn: new.map(|node| node.name.clone()).collect(),
        replaced: (0..graph.nodes().len()).filter(|&id| !needed[id]).collect(),
        graph: graph_with_head,
    })
}

/// The last image of the body: what the flatten layer of the classifier reads, before pools that adapt it to the classifier
/// and a layer norm of their means.
fn last_image(graph: &Graph) -> Result<NodeId> {
    let is_flatten = |id: &NodeId| matches!(graph.nodes()[*id].layer, Layer::Flatten);
    // Gates flatten means of channels, too, but the image goes around them.
    let of_classifier = |id: &NodeId| is_flatten(id) && everything_passes(graph, *id);
    let flatten = (0..graph.nodes().len()).find(of_classifier).ok_or_else(|| {
        Error::invalid(
            "new head: fastai's head follows the image that a flatten layer reads, and through which everything goes; the \
             network has none",
        )
    })?;
    let adapts = |id: NodeId| match &graph.nodes()[id].layer {
        Layer::Pool(Pool { window: Window::Adaptive(_) | Window::Global, .. }) => {
            Some(graph.nodes()[id].inputs[0])
        }
        _ => None,
    };
    // A layer norm of means belongs to the classifier (ConvNeXt).
    let means = |id: NodeId| match graph.nodes()[id].layer {
        Layer::LayerNorm(_) => adapts(graph.nodes()[id].inputs[0]),
        _ => adapts(id),
    };
    let mut at = graph.nodes()[flatten].inputs[0];
    // A convolution that makes the classes belongs to the classifier, with all layers behind it and dropout before it.
    if let Ok(last) = last_layer(graph)
        && matches!(graph.nodes()[last].layer, Layer::Conv2d(_))
    {
        at = graph.nodes()[last].inputs[0];
        while matches!(graph.nodes()[at].layer, Layer::Dropout { .. }) {
            at = graph.nodes()[at].inputs[0];
        }
    }
    loop {
        let inputs = &graph.nodes()[at].inputs;
        let source = match graph.nodes()[at].layer {
            // fastai's own head: the maximum and the mean of one image.
            Layer::Concat => {
                adapts(inputs[0]).filter(|image| inputs.iter().all(|&i| adapts(i) == Some(*image)))
            }
            _ => means(at),
        };
        match source {
            Some(image) => at = image,
            None => return Ok(at),
        }
    }
}

/// Whether every path from the image to the output goes through the layer `through`.
fn everything_passes(graph: &Graph, through: NodeId) -> bool {
    let mut reached = vec![false; graph.nodes().len()];
    reached[graph.output()] = true;
    for id in (0..reached.len()).rev().filter(|&id| id != through) {
        if reached[id] {
            graph.nodes()[id].inputs.iter().for_each(|&input| reached[input] = true);
        }
    }
    !reached[0]
}
