//! Slicing: cuts removed units out of every layer.

use super::filters::Filters;
use super::flow::ChannelFlow;
use super::slices::axes;
use crate::memory::bytes_of;
use crate::{Graph, Layer, Node, Param};

/// Bytes of the parameters of `graph` that [`slice`] makes, with their masks, if it cuts the units `removed`; a layer that
/// absorbs constants may have a new bias.
pub(super) fn bytes(graph: &Graph, flow: &ChannelFlow, removed: &[bool]) -> u64 {
    let of = |(id, node): (usize, &Node)| {
        let Some(&input) = node.inputs.first() else { return 0 };
        let (inputs, outputs) = (flow.kept(input, removed).len(), flow.kept(id, removed).len());
        let (all_inputs, all_outputs) = (flow.units(input).len(), flow.units(id).len());
        if (inputs, outputs) == (all_inputs, all_outputs) {
            return 0;
        }
        match (&node.layer, Filters::of(&node.layer)) {
            (Layer::BatchNorm(_) | Layer::LayerNorm(_), _) => bytes_of::<f32>([outputs, 6]),
            (Layer::GroupNorm(_) | Layer::PRelu(_), _) => bytes_of::<f32>([outputs, 6]),
            (Layer::Gather { .. }, _) => bytes_of::<u32>([outputs]),
            (_, Some(filters)) => {
                let taps = filters.filter(0).len() / filters.depth();
                // A depthwise filter keeps its one input.
                let depth = (filters.depth() * inputs).div_ceil(all_inputs);
                let copies = 1 + usize::from(filters.weight.mask().is_some());
                bytes_of::<f32>([outputs, taps * depth * copies + 2])
            }
            _ => 0,
        }
    };
    graph.nodes().iter().enumerate().map(of).fold(0, u64::saturating_add)
}

/// Cuts the units `removed` out of every weight, bias, mask and statistic. A mask that drops nothing any more is
/// lifted.
pub fn slice(graph: &mut Graph, flow: &ChannelFlow, removed: &[bool]) {
    for id in 1..graph.nodes().len() {
        let input = graph.nodes()[id].inputs[0];
        let (inputs, outputs) = (flow.kept(input, removed), flow.kept(id, removed));
        let layer = graph.layer_mut(id);
        if let Layer::Gather { channels } = layer {
            *channels = renumbered(channels, &inputs, &outputs);
        }
        cut_tensors(layer, &inputs, &outputs);
        match layer {
            Layer::Conv2d(conv) if conv.is_depthwise() => conv.groups = inputs.len(),
            // Groups stay or go as a whole.
            Layer::GroupNorm(norm) => norm.groups = norm.groups * outputs.len() / flow.units(id).len(),
            Layer::PadShortcut { before, after, .. } => {
                // The layer prepends `before` new channels to its input and appends `after`.
                let first = *before;
                let last = flow.units(id).len() - *after;
                *before = outputs.iter().filter(|&&channel| channel < first).count();
                *after = outputs.iter().filter(|&&channel| channel >= last).count();
            }
            _ => {}
        }
    }
}

/// The `channels` that a gathering keeps at the places `outputs`, counted among the `inputs` that stay.
fn renumbered(channels: &[u32], inputs: &[usize], outputs: &[usize]) -> Vec<u32> {
    // An output is of the same unit as its input, so both stay.
    outputs
        .iter()
        .map(|&place| inputs.partition_point(|&input| input < channels[place] as usize) as u32)
        .collect()
}

/// Cuts the parameters and statistics of `layer` down to the channels `inputs` and `outputs`.
fn cut_tensors(layer: &mut Layer, inputs: &[usize], outputs: &[usize]) {
    // Shares the tensors.
    let whole = layer.clone();
    for (slot, param) in layer.params_mut() {
        axes(&whole, slot, inputs, outputs).into_iter().for_each(|(axis, keep)| cut(param, axis, keep));
    }
    for (slot, buffer) in layer.buffers_mut() {
        for (axis, keep) in axes(&whole, slot, inputs, outputs) {
            *buffer = buffer.select(axis, keep);
        }
    }
}

/// Keeps the slices `keep` of `axis`.
fn cut(param: &mut Param, axis: usize, keep: &[usize]) {
    if keep.len() == param.value().dim(axis) {
        return;
    }
    *param = param.select(axis, keep);
    if param.mask().is_some_and(|mask| mask.data().iter().all(|&m| m == 1.0)) {
        param.set_mask(None).expect("lifting a mask always succeeds");
    }
}
