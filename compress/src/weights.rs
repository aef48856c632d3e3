//! What several techniques ask about a network's weights.

use lopper_engine::channels::{Filters, filters_mut};
use lopper_engine::layer::CompactConv2d;
use lopper_engine::{Graph, Layer, NodeId, Param, Result, memory};

/// The weight of a convolution (not a compact one) or linear layer, or γ of a batch norm.
pub(crate) fn weight(layer: &Layer) -> Option<&Param> {
    match layer {
        Layer::BatchNorm(bn) => Some(&bn.weight),
        _ => Filters::of(layer).map(|filters| filters.weight),
    }
}

/// [`weight`], for writing.
pub(crate) fn weight_mut(layer: &mut Layer) -> Option<&mut Param> {
    match layer {
        Layer::BatchNorm(bn) => Some(&mut bn.weight),
        _ => filters_mut(layer).map(|(weight, _)| weight),
    }
}

/// The batch norm that scales the output of `node`, one γ per filter: its only reader, possibly behind activations.
/// `readers` are [`Graph::readers`].
pub(crate) fn batch_norm_behind(graph: &Graph, readers: &[Vec<NodeId>], mut node: NodeId) -> Option<NodeId> {
    loop {
        let &[reader] = readers[node].as_slice() else { return None };
        match &graph.nodes()[reader].layer {
            Layer::BatchNorm(_) => return Some(reader),
            Layer::Activation(_) => node = reader,
            _ => return None,
        }
    }
}

/// Checks that memory holds the parameters of `graph` once more, with masks: as much as the rewrite called `what` may
/// copy.
pub(crate) fn require_copy(graph: &Graph, what: &str) -> Result<()> {
    let params = graph.params().map(|(_, param)| memory::bytes_of::<f32>([param.value().len(), 2]));
    memory::require(format_args!("{what}: new parameters"), params.fold(0, u64::saturating_add))
}

/// The sum of the squared weights of convolutions and linear layers of `graph`.
pub fn squared_weights(graph: &Graph) -> f64 {
    let weights = graph.nodes().iter().filter_map(|node| match &node.layer {
        Layer::Conv2d(conv) | Layer::CompactConv2d(CompactConv2d { conv, .. }) => Some(&conv.weight),
        Layer::Linear(linear) => Some(&linear.weight),
        _ => None,
    });
    weights.map(|weight| squares(weight.value().data())).sum()
}

/// The sum of squares, by partial sums side by side: a sparsifier asks for it at every step.
fn squares(values: &[f32]) -> f64 {
    const LANES: usize = 16;
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0f64; LANES];
    for chunk in whole {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>()
}
