//! Values that are kept between bounds.

use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::view::View;
use crate::graph::layer::{Activation, Layer};
use crate::graph::pool::{Pool, PoolKind};
use crate::graph::{Node, NodeId};

/// The largest number of layers through which the bounds of values are followed.
const MOST_STEPS: usize = 8;

/// The clamp between `low` and `high`, in the words of networks.
pub(super) fn clamp([low, high]: [f32; 2]) -> Activation {
    match (low, high) {
        (0.0, f32::MAX..) => Activation::Relu,
        (0.0, 6.0) => Activation::Relu6,
        (low, high) => Activation::Clamp { low, high },
    }
}

/// `view` between `low` and `high`.
pub(super) fn between(
    importer: &mut Importer<'_, '_>,
    name: &str,
    view: View,
    [low, high]: [f32; 2],
) -> View {
    if let Some([least, most]) = range(importer, view.node)
        && low <= least
        && most <= high
    {
        return view;
    }
    if importer.is_unshared(view.node)
        && let Layer::Activation(activation) = &mut importer.nodes[view.node].layer
        && let Some([least, most]) = activation.bounds()
    {
        // One clamp after the other is a clamp.
        *activation = clamp([least.clamp(low, high), most.clamp(low, high)]);
        return view;
    }
    let id = importer.push_named(name, Layer::Activation(clamp([low, high])), &[view.node]);
    view.at(id)
}

/// The least and the greatest value of the layer `node`, as far as a function that keeps its values between bounds says, with
/// a few layers behind it that choose among them.
fn range(importer: &Importer<'_, '_>, mut node: NodeId) -> Option<[f32; 2]> {
    for _ in 0..MOST_STEPS {
        let Node { layer, inputs, .. } = &importer.nodes[node];
        match layer {
            Layer::Activation(Activation::Sigmoid | Activation::HardSigmoid) => return Some([0.0, 1.0]),
            Layer::Activation(Activation::Tanh) => return Some([-1.0, 1.0]),
            Layer::Activation(activation) => return activation.bounds(),
            Layer::Pool(Pool { kind: PoolKind::Max, .. }) | Layer::Flatten | Layer::Gather { .. } => {
                node = *inputs.first()?;
            }
            _ => return None,
        }
    }
    None
}
