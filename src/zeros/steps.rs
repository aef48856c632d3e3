//! Plans with and without masks, and their differences.

use lopper_engine::channels::{Filters, filters_mut};
use lopper_engine::plan::{Plan, Step};
use lopper_engine::{Device, Graph, Layer, Param, Result, Tensor, memory};
use std::collections::HashMap;

/// Steps of a plan by the node that they compute.
pub type Steps = HashMap<String, Step>;

/// Returns the steps of `graph`, with its masks.
pub fn masked(graph: &Graph, input: [usize; 4], device: &Device) -> Result<Steps> {
    let plan = Plan::new(graph, input, device)?;
    Ok(plan.steps().iter().map(|step| (step.name.clone(), step.clone())).collect())
}

/// Returns the steps of `graph` with ones in place of all masked weights.
pub fn dense(graph: &Graph, input: [usize; 4], device: &Device) -> Result<Steps> {
    let masked_weights = |layer: &Layer| weight(layer).filter(|weight| weight.mask().is_some()).is_some();
    let ids: Vec<usize> =
        (0..graph.nodes().len()).filter(|&id| masked_weights(&graph.nodes()[id].layer)).collect();
    let len = |&id: &usize| weight(&graph.nodes()[id].layer).map_or(0, |weight| weight.value().len());
    memory::require("planning without masks", memory::bytes_of::<f32>([ids.iter().map(len).sum()]))?;
    let mut graph = graph.clone();
    for id in ids {
        if let Some((weight, _)) = filters_mut(graph.layer_mut(id)) {
            fill(weight, None)?;
        }
    }
    masked(&graph, input, device)
}

/// Returns the step of `layer` alone, for one input of shape `x`, whose first axis is the batch. `mask` replaces its
/// mask; the weights do not matter.
pub fn alone(layer: &Layer, x: &[usize], mask: Option<Tensor>, device: &Device) -> Result<Option<Step>> {
    let (mut layer, channels) = (layer.clone(), x[x.len() - 1]);
    if let Some((weight, _)) = filters_mut(&mut layer) {
        fill(weight, mask)?;
    }
    let mut graph = Graph::new(channels);
    let (input, last) = match *x {
        [_, h, w, c] => ([1, h, w, c], 0),
        _ => ([1, 1, 1, channels], graph.push("flatten", Layer::Flatten, &[0])?),
    };
    graph.push("layer", layer, &[last])?;
    Ok(masked(&graph, input, device)?.remove("layer"))
}

/// Returns whether `step` skips zeros that `dense`, the same step without masks, does not have.
pub fn skips(step: &Step, dense: &Step) -> bool {
    let fewer = step.macs < dense.macs || step.products < dense.products;
    fewer || (step.kernel, step.kind) != (dense.kernel, dense.kind)
}

/// Returns the weight of a convolution or linear layer.
pub fn weight(layer: &Layer) -> Option<&Param> {
    Filters::of(layer).map(|filters| filters.weight)
}

/// Sets all weights to one, except those that `mask` drops.
fn fill(weight: &mut Param, mask: Option<Tensor>) -> Result<()> {
    weight.replace(Tensor::full(weight.value().shape(), 1.0), mask)
}
