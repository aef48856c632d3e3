//! Criteria that look at the whole network, without images.
//!
//! A layer says little about what becomes of its output: these criteria ask all layers on the way, by one sweep over the
//! graph.

use super::{LayerView, Reduction, Score, Site, described};
use lopper_engine::channels::Filters;
use lopper_engine::layer::{Activation, BatchNorm};
use lopper_engine::{Device, Error, Graph, Layer, Mode, Node, NodeId, Param, Result, Tape, Tensor};
use std::sync::LazyLock;

/// `synflow`: `Σ |w|·∂R/∂|w|` over the group, where R is the sum of the network's outputs for an image of ones with the
/// magnitudes of all weights, no biases, and activations that let positive numbers through (Tanaka et al. 2020, "Pruning
/// neural networks without any data by iteratively conserving synaptic flow", equation 2).
///
/// The flow through a layer is the same for all layers, so that global pruning empties none if it scores again in between:
/// sparsification without training takes 100 rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct SynFlow;

/// The value of the image. R is homogeneous, so scores are only scaled by it; deep networks would overflow with ones.
const IMAGE: f32 = 1e-12;

/// A single image is not worth more threads than these, which stay from one round to the next.
static DEVICE: LazyLock<Device> = LazyLock::new(Device::cpu);

described!(
    SynFlow,
    "Σ |w|·∂R/∂|w| over the group, R = 1ᵀ Π|W| 1",
    "Tanaka et al. 2020, Pruning neural networks without any data by iteratively conserving synaptic flow"
);

impl Score for SynFlow {
    fn name(&self) -> &str {
        "synflow"
    }

    fn survey(&self, graph: &Graph, sites: &[Site]) -> Result<Option<Vec<Vec<f64>>>> {
        let [h, w, c] = graph.info.input;
        if h * w * c == 0 {
            return Err(Error::invalid("the model does not say how large its images are"));
        }
        let flow = magnitudes(graph)?;
        flow.require_training([1, h, w, c], 0, &DEVICE)?;
        let mut tape = Tape::new(&DEVICE);
        let pass = flow.forward(&mut tape, Mode::Eval, Tensor::full(&[1, h, w, c], IMAGE), &[])?;
        let sum = tape.sum(&pass.output)?;
        let gradients = pass.gradients(tape.backward(&sum)?);
        let of = |site: &Site| {
            let gradient = gradients.get(&format!("{}.weight", site.name(graph)));
            let weight = site.weight(graph).value().data();
            let flow = |i: usize| {
                let gradient = gradient.map_or(0.0, |gradient| f64::from(gradient.data()[i]));
                f64::from(weight[i].abs()) * gradient / f64::from(IMAGE)
            };
            Reduction::Sum.of(&site.groups, flow)
        };
        Ok(Some(sites.iter().map(of).collect()))
    }

    fn rounds(&self) -> usize {
        100
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// `graph` with the magnitudes of its weights and scales, and without biases and shifts. Gates are open, layer and group norms
/// only scale, and softmaxes pass their input on: all three would turn the sum of paths into something else.
fn magnitudes(graph: &Graph) -> Result<Graph> {
    let mut flow = graph.clone();
    let gates = gates(graph);
    for id in 0..flow.nodes().len() {
        let layer = flow.layer_mut(id);
        match layer {
            Layer::BatchNorm(bn) => bn.running_mean = Tensor::zeros(&[bn.channels()]),
            Layer::LayerNorm(norm) => *layer = scale(&norm.weight, &norm.bias),
            Layer::GroupNorm(norm) => *layer = scale(&norm.weight, &norm.bias),
            Layer::Activation(_) | Layer::Softmax { .. } => {
                let open = Activation::Clamp { low: 1.0, high: 1.0 };
                *layer = Layer::Activation(if gates.contains(&id) { open } else { Activation::Relu });
            }
            _ => {}
        }
        for (slot, param) in layer.params_mut() {
            param.trainable = slot == "weight";
            param.update(|values| {
                values.iter_mut().for_each(|v| *v = if slot == "weight" { v.abs() } else { 0.0 })
            });
        }
    }
    Ok(flow)
}

/// A batch norm that only scales by `weight` and shifts by `bias`.
fn scale(weight: &Param, bias: &Param) -> Layer {
    let (weight, bias, new) = (weight.clone(), bias.clone(), BatchNorm::new(weight.value().len()));
    Layer::BatchNorm(BatchNorm { weight, bias, ..new })
}

/// The activations and softmaxes whose only readers are products, of which they are the second factor.
fn gates(graph: &Graph) -> Vec<NodeId> {
    let gate = |node: &Node| match (&node.layer, &node.inputs[..]) {
        (Layer::Multiply, &[_, gate]) => Some(gate),
        _ => None,
    };
    let gates = graph.nodes().iter().filter_map(gate);
    let is_free = |&id: &NodeId| {
        let node = &graph.nodes()[id];
        matches!(node.layer, Layer::Activation(_) | Layer::Softmax { .. }) && graph.readers()[id].len() == 1
    };
    gates.filter(is_free).collect()
}

/// `lookahead`: `√Σ (|w|·‖before‖·‖after‖)²` over the group, where ‖before‖ is the norm of the filter that makes the weight's
/// input channel, and ‖after‖ that of all weights that read its output channel (Park et al. 2020, "Lookahead: a far-sighted
/// alternative of magnitude-based pruning", equation 3, for groups).
///
/// That is the change of the product of three layers without the group. Batch norms in between scale the norms; residual sums
/// add their squares; the image and the network's output count 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookahead;

described!(
    Lookahead,
    "√Σ (|w|·‖before‖·‖after‖)² over the group, by the weights of the layers around",
    "Park et al. 2020, Lookahead: a far-sighted alternative of magnitude-based pruning"
);

impl Score for Lookahead {
    fn name(&self) -> &str {
        "lookahead"
    }

    fn survey(&self, graph: &Graph, sites: &[Site]) -> Result<Option<Vec<Vec<f64>>>> {
        let (made, read) = (made(graph), read(graph));
        let of = |site: &Site| {
            let (node, weight) = (&graph.nodes()[site.node], site.weight(graph).value().data());
            let before = &made[node.inputs[0]];
            let after = &read[site.node];
            let [outputs, _, depth] = site.groups.axes();
            let size = weight.len() / outputs.max(1);
            let groups = Filters::of(&node.layer).map_or(1, |filters| filters.groups);
            let term = |i: usize| {
                let (o, c) = (i / size, i % depth);
                // Grouped convolutions read a run of channels for each run of filters.
                let channel = o / (outputs / groups).max(1) * depth + c;
                f64::from(weight[i]) * before[channel % before.len()] * after[o % after.len()]
            };
            Reduction::L2.of(&site.groups, term)
        };
        Ok(Some(sites.iter().map(of).collect()))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// For each node and each of its channels, the norm of the weights that make it.
fn made(graph: &Graph) -> Vec<Vec<f64>> {
    let mut made: Vec<Vec<f64>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let input = |i: usize| made[node.inputs[i]].clone();
        made.push(match &node.layer {
            Layer::Input { channels } => vec![1.0; *channels],
            Layer::Conv2d(conv) => norms(&conv.weight),
            Layer::Linear(linear) => norms(&linear.weight),
            Layer::CompactConv2d(compact) => vec![1.0; compact.fill.len()],
            Layer::BatchNorm(bn) => scaled(input(0), bn),
            Layer::LayerNorm(norm) => by_scale(input(0), &norm.weight),
            Layer::GroupNorm(norm) => by_scale(input(0), &norm.weight),
            Layer::Activation(_) | Layer::Pool(_) | Layer::Flatten | Layer::Dropout { .. } => input(0),
            // A gate scales its first input by an unknown factor.
            Layer::PRelu(_) | Layer::Multiply | Layer::Resize(_) | Layer::Dilate { .. } => input(0),
            Layer::Softmax { .. } => input(0),
            Layer::Gather { channels } => {
                let from = input(0);
                channels.iter().map(|&channel| from[channel as usize % from.len()]).collect()
            }
            Layer::Add => (1..node.inputs.len()).fold(input(0), |sum, i| root_of_sums(&sum, &input(i))),
            Layer::Concat => (0..node.inputs.len()).flat_map(input).collect(),
            &Layer::PadShortcut { before, after, .. } => {
                [vec![0.0; before], input(0), vec![0.0; after]].concat()
            }
        });
    }
    made
}

/// For each node and each of its channels, the norm of the weights that read it.
fn read(graph: &Graph) -> Vec<Vec<f64>> {
    let widths: Vec<usize> = made(graph).iter().map(Vec::len).collect();
    let mut read: Vec<Option<Vec<f64>>> = vec![None; graph.nodes().len()];
    read[graph.output()] = Some(vec![1.0; widths[graph.output()]]);
    for (id, node) in graph.nodes().iter().enumerate().rev() {
        let after = read[id].clone().unwrap_or_else(|| vec![0.0; widths[id]]);
        let mut start = 0;
        for &input in &node.inputs {
            let width = widths[input];
            let seen = match &node.layer {
                Layer::Conv2d(_) | Layer::Linear(_) => columns(&node.layer, width),
                Layer::CompactConv2d(_) => vec![1.0; width],
                Layer::BatchNorm(bn) => scaled(after.clone(), bn),
                Layer::LayerNorm(norm) => by_scale(after.clone(), &norm.weight),
                Layer::GroupNorm(norm) => by_scale(after.clone(), &norm.weight),
                Layer::Gather { channels } => {
                    let mut seen = vec![0.0f64; width];
                    for (&channel, &after) in channels.iter().zip(&after) {
                        let seen = &mut seen[channel as usize % width];
                        *seen = seen.hypot(after);
                    }
                    seen
                }
                Layer::Concat => after[start..start + width].to_vec(),
                &Layer::PadShortcut { before, .. } => after[before..before + width].to_vec(),
                _ => after.clone(),
            };
            start += width;
            read[input] = Some(match read[input].take() {
                Some(sum) => root_of_sums(&sum, &seen),
                None => seen,
            });
        }
    }
    read.into_iter().zip(widths).map(|(read, width)| read.unwrap_or_else(|| vec![0.0; width])).collect()
}

/// The norm of each filter.
fn norms(weight: &Param) -> Vec<f64> {
    let values = weight.value();
    let size = values.len() / values.dim(0).max(1);
    let norm = |filter: &[f32]| filter.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
    values.data().chunks(size.max(1)).map(norm).collect()
}

/// For each of `width` channels, the norm of all weights of `layer` that read it: a channel behind a flatten is read by
/// several inputs.
fn columns(layer: &Layer, width: usize) -> Vec<f64> {
    let mut squares = vec![0.0; width];
    if let Some(filters) = Filters::of(layer) {
        for o in 0..filters.outputs() {
            let first = filters.first_input(o);
            for (i, &w) in filters.filter(o).iter().enumerate() {
                squares[(first + i % filters.depth()) % width] += f64::from(w).powi(2);
            }
        }
    }
    squares.into_iter().map(f64::sqrt).collect()
}

/// `norms` times the scales of a batch norm, which may follow a flatten.
fn scaled(norms: Vec<f64>, bn: &BatchNorm) -> Vec<f64> {
    let affine = bn.affine();
    let count = norms.len().max(affine.len());
    let scale = |i: usize| norms[i % norms.len()] * f64::from(affine[i % affine.len()].0.abs());
    (0..count).map(scale).collect()
}

/// `norms` times the magnitudes of the scale `gamma`, which may follow a flatten.
fn by_scale(norms: Vec<f64>, gamma: &Param) -> Vec<f64> {
    let gamma = gamma.value().data();
    let count = norms.len().max(gamma.len());
    (0..count).map(|i| norms[i % norms.len()] * f64::from(gamma[i % gamma.len()].abs())).collect()
}

fn root_of_sums(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a.hypot(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::granularity::Granularity;
    use lopper_engine::layer::Linear;

    /// The rows of the linear layer `name`.
    fn rows_of(graph: &Graph, name: &str) -> Site {
        let node = graph.id(name).unwrap();
        Site { node, groups: Granularity::ROW.groups(&graph.nodes()[node].layer).unwrap() }
    }

    /// Two linear layers on an image of one pixel: A [2, 2] = (1, −2; 3, 0), B [1, 2] = (−1, 2).
    fn pair(relu: bool) -> Graph {
        let linear = |shape: &[usize], values: &[f32]| {
            let weight = Param::new(Tensor::from_slice(shape, values).unwrap());
            Layer::Linear(Linear { weight, bias: Some(Param::new(Tensor::full(&shape[..1], 5.0))) })
        };
        let mut graph = Graph::new(2);
        graph.info.input = [1, 1, 2];
        let flat = graph.push("flat", Layer::Flatten, &[0]).unwrap();
        let mut at = graph.push("a", linear(&[2, 2], &[1.0, -2.0, 3.0, 0.0]), &[flat]).unwrap();
        if relu {
            at = graph.push("act", Layer::Activation(Activation::Relu6), &[at]).unwrap();
        }
        graph.push("b", linear(&[1, 2], &[-1.0, 2.0]), &[at]).unwrap();
        graph
    }

    #[test]
    fn synaptic_flow_agrees_with_a_hand_example_and_is_conserved() {
        for relu in [false, true] {
            let graph = pair(relu);
            let sites = ["a", "b"].map(|name| rows_of(&graph, name));
            let flows = SynFlow.survey(&graph, &sites).unwrap().unwrap();
            // R = 1·(1 + 2) + 2·(3 + 0) = 9: rows of A carry 3 and 6, that of B all.
            for (found, expected) in flows.concat().iter().zip([3.0, 6.0, 9.0]) {
                assert!((found - expected).abs() < 1e-5, "{flows:?}");
            }
        }
    }

    #[test]
    fn lookahead_multiplies_the_norms_around_a_weight() {
        let graph = pair(true);
        let flows = Lookahead.survey(&graph, &["a", "b"].map(|name| rows_of(&graph, name))).unwrap().unwrap();
        // Rows of A: √5 · 1 and 3 · 2. B: √((1·√5)² + (2·3)²).
        for (found, expected) in flows.concat().iter().zip([5f64.sqrt(), 6.0, 41f64.sqrt()]) {
            assert!((found - expected).abs() < 1e-6, "{flows:?}");
        }
    }
}
