//! Slicing: cuts removed units out of every layer.

use super::filters::Filters;
use super::flow::ChannelFlow;
use crate::graph::layer::{BatchNorm, Conv2d, Linear};
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
            (Layer::BatchNorm(_), _) => bytes_of::<f32>([outputs, 6]),
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
        match graph.layer_mut(id) {
            Layer::Conv2d(conv) => cut_conv(conv, &inputs, &outputs),
            Layer::Linear(linear) => cut_linear(linear, &inputs, &outputs),
            Layer::BatchNorm(bn) => cut_batch_norm(bn, &outputs),
            Layer::PadShortcut { before, after, .. } => {
                // The layer prepends `before` new channels to its input and appends `after`.
                let first = *before;
                let last = flow.units(id).len() - *after;
                *before = outputs.iter().filter(|&&channel| channel < first).count();
                *after = outputs.iter().filter(|&&channel| channel >= last).count();
            }
            // Channel flow freezes the inputs and outputs of compact convolutions.
            Layer::CompactConv2d(_) | Layer::Input { .. } => {}
            Layer::Activation(_)
            | Layer::Pool(_)
            | Layer::Dropout { .. }
            | Layer::Flatten
            | Layer::Add
            | Layer::Concat => {}
        }
    }
}

fn cut_conv(conv: &mut Conv2d, inputs: &[usize], outputs: &[usize]) {
    cut(&mut conv.weight, 0, outputs);
    cut_bias(&mut conv.bias, outputs);
    if conv.is_depthwise() {
        conv.groups = inputs.len();
    } else {
        // The inputs of the first group: every group keeps the same positions.
        let depth = conv.weight.value().dim(3);
        cut(&mut conv.weight, 3, &inputs[..inputs.partition_point(|&channel| channel < depth)]);
    }
}

fn cut_linear(linear: &mut Linear, inputs: &[usize], outputs: &[usize]) {
    cut(&mut linear.weight, 0, outputs);
    cut_bias(&mut linear.bias, outputs);
    cut(&mut linear.weight, 1, inputs);
}

fn cut_batch_norm(bn: &mut BatchNorm, outputs: &[usize]) {
    cut(&mut bn.weight, 0, outputs);
    cut(&mut bn.bias, 0, outputs);
    for statistic in [&mut bn.running_mean, &mut bn.running_var] {
        *statistic = statistic.select(0, outputs);
    }
}

fn cut_bias(bias: &mut Option<Param>, outputs: &[usize]) {
    if let Some(bias) = bias {
        cut(bias, 0, outputs);
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
