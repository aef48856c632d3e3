//! Criteria: what a group of weights is worth. Groups with the lowest scores are dropped first.

use super::{Groups, Taylor};
use crate::names::named;
use crate::weights::Filters;
use lopper_engine::layer::BatchNorm;
use lopper_engine::{Error, Graph, Layer, NodeId, Result};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// How a group of weights is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Magnitude: the mean of |w| over the group (Han et al. 2015; Li et al. 2017 for filters). A mean, not a
    /// sum, so that groups of different layers compare.
    #[default]
    LargeFinal,
    /// A uniform random number, fixed by seed and layer: the control that every criterion must beat.
    Random,
    /// |Σ w·∂L/∂w| over the group, averaged over training steps: the first-order estimate of how much the
    /// loss changes without the group (Molchanov et al. 2017, in the form for weights of Molchanov et al.
    /// 2019).
    Taylor,
    /// |γ| of the batch norm that scales the filter's output: network slimming (Liu et al. 2017).
    BatchNormGamma,
}

named!(Criterion, "criterion");

impl Criterion {
    /// The score of each of the `groups` that the weight of `node` divides into; none is negative. `seed` is
    /// read by [`Criterion::Random`], `taylor` by [`Criterion::Taylor`]. An error where a score is not
    /// finite, or where the layer lacks what the criterion reads.
    pub fn scores(
        self,
        graph: &Graph,
        node: NodeId,
        groups: &Groups,
        seed: u64,
        taylor: Option<&Taylor>,
    ) -> Result<Vec<f32>> {
        let name = &graph.nodes()[node].name;
        let scores = match self {
            Self::LargeFinal => magnitude(graph, node, groups)?,
            Self::Random => random(seed, node, groups.count()),
            Self::Taylor => taylor.and_then(|t| t.scores(name, groups)).ok_or_else(|| {
                Error::invalid(format!("criterion taylor: no gradients of layer `{name}` were observed"))
            })?,
            Self::BatchNormGamma => {
                let bn = batch_norm_behind(graph, node).ok_or_else(|| {
                    Error::invalid(format!("criterion batch_norm_gamma: no batch norm scales layer `{name}`"))
                })?;
                bn.weight.value().data().iter().map(|g| g.abs()).collect()
            }
        };
        match scores.iter().find(|s| !s.is_finite()) {
            Some(score) => {
                Err(Error::invalid(format!("layer `{name}`: criterion {self} scores a group {score}")))
            }
            None => Ok(scores),
        }
    }
}

fn magnitude(graph: &Graph, node: NodeId, groups: &Groups) -> Result<Vec<f32>> {
    let node = &graph.nodes()[node];
    let filters = Filters::of(&node.layer).ok_or_else(|| {
        Error::invalid(format!("criterion large_final: layer `{}` has no weight", node.name))
    })?;
    let weight = filters.weight.value().data();
    let sums = groups.sum(|i| f64::from(weight[i].abs()));
    Ok(sums.into_iter().map(|sum| (sum / groups.size() as f64) as f32).collect())
}

fn random(seed: u64, node: NodeId, count: usize) -> Vec<f32> {
    // A stream of its own for each layer; the generator's seeding spreads neighbouring seeds apart.
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed ^ ((node as u64) << 32));
    (0..count).map(|_| generator.random()).collect()
}

/// The batch norm that scales the output of `node`, one γ a filter: its only reader, activations in between.
pub(super) fn batch_norm_behind(graph: &Graph, mut node: NodeId) -> Option<&BatchNorm> {
    let readers = graph.readers();
    loop {
        let &[reader] = readers[node].as_slice() else { return None };
        match &graph.nodes()[reader].layer {
            Layer::BatchNorm(bn) => return Some(bn),
            Layer::Relu | Layer::Relu6 => node = reader,
            _ => return None,
        }
    }
}
