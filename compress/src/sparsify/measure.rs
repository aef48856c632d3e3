//! The actual sparsity of a network, counted from its weights.

use super::{SparsifyConfig, layers};
use crate::granularity::Granularity;
use lopper_engine::{Graph, Result};
use std::fmt;

/// The zeros in a layer's weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSparsity {
    /// The layer's name.
    pub layer: String,
    /// The number of groups.
    pub groups: usize,
    /// The number of groups whose weights are all exactly zero.
    pub zero_groups: usize,
    /// The number of weights.
    pub weights: usize,
    /// The number of weights that are exactly zero.
    pub zero_weights: usize,
}

/// The sparsity of the layers that a configuration sparsifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparsity {
    /// The granularity of the groups.
    pub granularity: Granularity,
    /// In graph order.
    pub layers: Vec<LayerSparsity>,
}

impl Sparsity {
    /// Counts the zeros of the layers of `graph` that `config` sparsifies.
    pub fn measure(graph: &Graph, config: &SparsifyConfig) -> Result<Self> {
        let mut measured = Vec::new();
        for layers::Target { node, groups, .. } in layers::targets(graph, config)? {
            let weight = layers::weight(graph, node).value().data();
            let zero = groups.all(|i| weight[i] == 0.0);
            measured.push(LayerSparsity {
                layer: graph.nodes()[node].name.clone(),
                groups: groups.count(),
                zero_groups: zero.into_iter().filter(|&z| z).count(),
                weights: weight.len(),
                zero_weights: weight.iter().filter(|&&w| w == 0.0).count(),
            });
        }
        Ok(Self { granularity: config.granularity, layers: measured })
    }

    /// The fraction of groups that are zero, in 0..=1.
    pub fn of_groups(&self) -> f64 {
        ratio(self.layers.iter().map(|l| (l.zero_groups, l.groups)))
    }

    /// The fraction of weights that are zero, in 0..=1.
    pub fn of_weights(&self) -> f64 {
        ratio(self.layers.iter().map(|l| (l.zero_weights, l.weights)))
    }
}

/// Σ parts / Σ wholes; 0 if there are none.
fn ratio(counts: impl Iterator<Item = (usize, usize)>) -> f64 {
    let (part, whole) = counts.fold((0, 0), |(p, w), (part, whole)| (p + part, w + whole));
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl fmt::Display for Sparsity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: usize, whole: usize| 100.0 * ratio(std::iter::once((part, whole)));
        let width = self.layers.iter().map(|l| l.layer.len()).max().unwrap_or(0);
        for l in &self.layers {
            let (groups, weights) = (percent(l.zero_groups, l.groups), percent(l.zero_weights, l.weights));
            let (zero, all, granularity) = (l.zero_groups, l.groups, self.granularity.name());
            writeln!(
                f,
                "{:width$}  {zero} of {all} {granularity}s zero ({groups:.2} %), {weights:.2} % of weights",
                l.layer
            )?;
        }
        let (groups, weights) = (100.0 * self.of_groups(), 100.0 * self.of_weights());
        writeln!(
            f,
            "{:width$}  {groups:.2} % of {}s zero, {weights:.2} % of weights",
            "all",
            self.granularity.name()
        )
    }
}
