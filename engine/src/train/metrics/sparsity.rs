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
