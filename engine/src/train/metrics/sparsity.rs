//! The share of weights that masks hold at zero.

use crate::{Graph, Layer};
use serde::{Deserialize, Serialize};

/// The masked weights of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSparsity {
    /// The layer's name.
    pub layer: String,
    /// Number of weights that the mask holds at zero.
    pub zeros: u64,
    /// Number of weights; biases do not count.
    pub weights: u64,
}

impl LayerSparsity {
    /// The convolutions and linear layers of `graph`, or nothing if it has no mask.
    pub fn of(graph: &Graph) -> Vec<Self> {
        let layers = graph.nodes().iter().filter_map(|node| match &node.layer {
            Layer::Conv2d(conv) => Some((node, &conv.weight)),
            Layer::Linear(linear) => Some((node, &linear.weight)),
            _ => None,
        });
        let layers: Vec<Self> = layers
            .map(|(node, weight)| {
                let masked = |mask: &crate::Tensor| mask.data().iter().filter(|&&kept| kept == 0.0).count();
                let zeros = weight.mask().map_or(0, masked) as u64;
                Self { layer: node.name.clone(), zeros, weights: weight.value().len() as u64 }
            })
            .collect();
        if layers.iter().any(|layer| layer.zeros > 0) { layers } else { Vec::new() }
    }

    /// All of `layers` together.
    pub fn total(layers: &[Self]) -> Self {
        let sum = |count: fn(&Self) -> u64| layers.iter().map(count).sum();
        Self { layer: "all".into(), zeros: sum(|l| l.zeros), weights: sum(|l| l.weights) }
    }

    /// The share of masked weights, in `[0, 1]`; 0 if there are no weights.
    pub fn fraction(&self) -> f64 {
        self.zeros as f64 / self.weights.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Linear;
    use crate::{Param, Tensor};

    #[test]
    fn masked_weights_are_counted_by_layer() {
        let mut graph = Graph::new(3);
        let mut node = 0;
        for name in ["a", "b"] {
            let (weight, bias) =
                (Param::new(Tensor::full(&[3, 3], 1.0)), Some(Param::new(Tensor::zeros(&[3]))));
            node = graph.push(name, Layer::Linear(Linear { weight, bias }), &[node]).unwrap();
        }
        assert_eq!(LayerSparsity::of(&graph), [], "zeros without a mask do not count");
        let mask = Tensor::from_fn(&[3, 3], |i| f32::from(i >= 4));
        graph.param_mut("b.weight").unwrap().set_mask(Some(mask)).unwrap();
        let layers = LayerSparsity::of(&graph);
        assert_eq!(
            layers.iter().map(|l| (&l.layer[..], l.zeros, l.weights)).collect::<Vec<_>>(),
            [("a", 0, 9), ("b", 4, 9)]
        );
        assert_eq!(LayerSparsity::total(&layers).fraction(), 4.0 / 18.0);
        assert_eq!(LayerSparsity::total(&[]).fraction(), 0.0);
    }
}
