//! The change of a logit that rounding explains.

use crate::{Graph, Layer};

/// Unit roundoff of f32.
const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// Multiples of the typical rounding error that count as rounding.
const SAFETY: f64 = 16.0;

/// The change of a logit that rounding explains where `graph` computes logits of at most `largest`: a sum of K products is
/// typically off by `u·√K` of its size, u = 2⁻²⁴, if its terms round independently (Higham & Mary 2019, "A new approach to
/// probabilistic rounding error analysis"). The errors of all layers add up, 16 times for a margin.
pub fn rounding_bound(graph: &Graph, largest: f32) -> f32 {
    let terms = |layer: &Layer| match layer {
        Layer::Conv2d(conv) => conv.weight.value().shape()[1..].iter().product(),
        Layer::CompactConv2d(compact) => compact.conv.weight.value().shape()[1..].iter().product(),
        Layer::Linear(linear) => linear.in_features(),
        Layer::LayerNorm(norm) => norm.channels(),
        // And of all pixels, whose number is not known here.
        Layer::GroupNorm(norm) => norm.channels() / norm.groups,
        // Its sum is of positive terms, whose rounding errors stay as small as one of them.
        Layer::Softmax { .. } => 1,
        Layer::BatchNorm(_) | Layer::Add | Layer::Multiply | Layer::Pool(_) | Layer::Resize(_) => 1,
        Layer::Input { .. }
        | Layer::Activation(_)
        | Layer::Flatten
        | Layer::Dropout { .. }
        | Layer::PRelu(_)
        | Layer::Concat
        | Layer::Gather { .. }
        | Layer::Dilate { .. }
        | Layer::PadShortcut { .. } => 0,
    };
    let sum: f64 = graph.nodes().iter().map(|node| (terms(&node.layer) as f64).sqrt()).sum();
    (SAFETY * ROUNDOFF * f64::from(largest).max(f64::from(f32::MIN_POSITIVE)) * sum) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Linear;
    use crate::{Param, Tensor};

    #[test]
    fn a_bound_grows_with_the_length_of_sums_and_the_logits() {
        let network = |inputs: usize| {
            let mut graph = Graph::new(inputs);
            let weight = Param::new(Tensor::zeros(&[2, inputs]));
            graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[0]).unwrap();
            graph
        };
        // 16 · 2⁻²⁴ · 3 · √16.
        assert_eq!(rounding_bound(&network(16), 3.0), 192.0 / (1 << 24) as f32);
        assert_eq!(rounding_bound(&network(64), 3.0), 2.0 * rounding_bound(&network(16), 3.0));
        assert!(rounding_bound(&network(4), 0.0) >= 0.0);
    }
}
