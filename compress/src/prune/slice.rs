//! Slicing: cuts removed units out of every layer.

use crate::channels::ChannelFlow;
use lopper_engine::layer::{BatchNorm, Conv2d, Linear};
use lopper_engine::rewrite::Edit;
use lopper_engine::{Graph, Layer, Param};

/// Cuts the units `removed` out of every weight, bias, mask and statistic. A mask that drops nothing any more is lifted.
pub(super) fn slice(graph: &mut Graph, flow: &ChannelFlow, removed: &[bool]) -> Vec<Edit> {
    let mut edits = Vec::new();
    for id in 1..graph.nodes().len() {
        let input = graph.nodes()[id].inputs[0];
        let mut cut = Cut { name: graph.nodes()[id].name.clone(), edits: &mut edits };
        let (inputs, outputs) = (flow.kept(input, removed), flow.kept(id, removed));
        match graph.layer_mut(id) {
            Layer::Conv2d(conv) => cut.conv(conv, &inputs, &outputs),
            Layer::Linear(linear) => cut.linear(linear, &inputs, &outputs),
            Layer::BatchNorm(bn) => cut.batch_norm(bn, &outputs),
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
    edits
}

/// The cut of a layer.
struct Cut<'a> {
    name: String,
    edits: &'a mut Vec<Edit>,
}

impl Cut<'_> {
    fn conv(&mut self, conv: &mut Conv2d, inputs: &[usize], outputs: &[usize]) {
        self.param(&mut conv.weight, "weight", 0, outputs);
        self.bias(&mut conv.bias, outputs);
        if conv.is_depthwise() {
            conv.groups = inputs.len();
        } else {
            // The inputs of the first group: every group keeps the same positions.
            let depth = conv.weight.value().dim(3);
            let first = &inputs[..inputs.partition_point(|&channel| channel < depth)];
            self.param(&mut conv.weight, "weight", 3, first);
        }
    }

    fn linear(&mut self, linear: &mut Linear, inputs: &[usize], outputs: &[usize]) {
        self.param(&mut linear.weight, "weight", 0, outputs);
        self.bias(&mut linear.bias, outputs);
        self.param(&mut linear.weight, "weight", 1, inputs);
    }

    fn batch_norm(&mut self, bn: &mut BatchNorm, outputs: &[usize]) {
        self.param(&mut bn.weight, "weight", 0, outputs);
        self.param(&mut bn.bias, "bias", 0, outputs);
        for statistic in [&mut bn.running_mean, &mut bn.running_var] {
            *statistic = statistic.select(0, outputs);
        }
    }

    fn bias(&mut self, bias: &mut Option<Param>, outputs: &[usize]) {
        if let Some(bias) = bias {
            self.param(bias, "bias", 0, outputs);
        }
    }

    fn param(&mut self, param: &mut Param, slot: &str, axis: usize, keep: &[usize]) {
        if keep.len() == param.value().dim(axis) {
            return;
        }
        *param = param.select(axis, keep);
        if param.mask().is_some_and(|mask| mask.data().iter().all(|&m| m == 1.0)) {
            param.set_mask(None).expect("lifting a mask always succeeds");
        }
        let param = format!("{}.{slot}", self.name);
        self.edits.push(Edit::Slice { param, axis, keep: keep.to_vec() });
    }
}
