//! The slices of a network's parameters and statistics that stay when channels are removed, by path.
//!
//! ```text
//!   conv.weight [O, K, K, C]  keeps outputs on axis 0 and inputs on axis 3        linear.weight [OUT, IN]  0 and 1
//!   everything else           keeps outputs on axis 0
//! ```
//!
//! Whatever accompanies the parameters, such as the moments of an optimizer, is cut along the same slices.

use super::flow::ChannelFlow;
use crate::{Graph, Layer, Tensor};
use std::collections::BTreeMap;

/// The slices that stay of each parameter and running statistic that is cut.
#[derive(Clone, Debug, Default)]
pub struct Slices(BTreeMap<String, Vec<Cut>>);

/// The indices of an axis that stay.
#[derive(Clone, Debug)]
struct Cut {
    axis: usize,
    keep: Vec<usize>,
}

impl Slices {
    /// The slices of `graph` that stay if the units `removed` of `flow` are cut out.
    pub fn of(graph: &Graph, flow: &ChannelFlow, removed: &[bool]) -> Self {
        let mut cuts = BTreeMap::new();
        for (id, node) in graph.nodes().iter().enumerate().skip(1) {
            let (inputs, outputs) = (flow.kept(node.inputs[0], removed), flow.kept(id, removed));
            let params = node.layer.params().into_iter().map(|(slot, param)| (slot, param.value()));
            for (slot, tensor) in params.chain(node.layer.buffers()) {
                let shorter = |(axis, keep): (usize, &[usize])| {
                    (keep.len() < tensor.dim(axis)).then(|| Cut { axis, keep: keep.to_vec() })
                };
                let axes = axes(&node.layer, slot, &inputs, &outputs);
                let cut: Vec<Cut> = axes.into_iter().filter_map(shorter).collect();
                if !cut.is_empty() {
                    cuts.insert(format!("{}.{slot}", node.name), cut);
                }
            }
        }
        Self(cuts)
    }

    /// Whether nothing is cut.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the tensor at `path` is cut.
    pub fn cut(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// What stays of `tensor`, which has the shape of the parameter or statistic at `path`.
    ///
    /// # Panics
    /// If the shape is smaller.
    pub fn of_tensor(&self, path: &str, tensor: &Tensor) -> Tensor {
        let cuts = self.0.get(path).into_iter().flatten();
        cuts.fold(tensor.clone(), |tensor, cut| tensor.select(cut.axis, &cut.keep))
    }

    /// What stays of `list`, which has an item for each index of the first axis of the tensor at `path`.
    ///
    /// # Panics
    /// If the list is shorter.
    pub fn of_rows<T: Clone>(&self, path: &str, list: &[T]) -> Vec<T> {
        let rows = self.0.get(path).into_iter().flatten().find(|cut| cut.axis == 0);
        match rows {
            Some(cut) => cut.keep.iter().map(|&row| list[row].clone()).collect(),
            None => list.to_vec(),
        }
    }
}

/// The axes of the parameter or statistic `slot` of `layer` that channels index, each with the indices that stay if the
/// layer keeps the channels `inputs` and `outputs`.
pub(super) fn axes<'a>(
    layer: &Layer,
    slot: &str,
    inputs: &'a [usize],
    outputs: &'a [usize],
) -> Vec<(usize, &'a [usize])> {
    match layer {
        Layer::Conv2d(conv) if slot == "weight" && !conv.is_depthwise() => {
            // The inputs of the first group: every group keeps the same positions.
            let depth = conv.weight.value().dim(3);
            vec![(0, outputs), (3, &inputs[..inputs.partition_point(|&channel| channel < depth)])]
        }
        Layer::Linear(_) if slot == "weight" => vec![(0, outputs), (1, inputs)],
        Layer::Conv2d(_) | Layer::Linear(_) | Layer::BatchNorm(_) => vec![(0, outputs)],
        Layer::LayerNorm(_) | Layer::GroupNorm(_) | Layer::PRelu(_) => vec![(0, outputs)],
        // Channel flow freezes the inputs and outputs of compact convolutions. The others have no parameters.
        Layer::CompactConv2d(_)
        | Layer::Input { .. }
        | Layer::Activation(_)
        | Layer::Softmax { .. }
        | Layer::Pool(_)
        | Layer::Dropout { .. }
        | Layer::Flatten
        | Layer::Add
        | Layer::Multiply
        | Layer::Concat
        | Layer::Gather { .. }
        | Layer::Resize(_)
        | Layer::Dilate { .. }
        | Layer::PadShortcut { .. } => Vec::new(),
    }
}
