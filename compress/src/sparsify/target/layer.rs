//! The weights of a layer with their scores, and what goes of them at a granularity and a sparsity.

use crate::criteria::{Evidence, Normalization, Scoring, Site};
use crate::granularity::{Granularity, Groups};
use crate::select::{Context, Rule, Scored, select_beside};
use crate::sparsify::SparsifyConfig;
use crate::sparsify::drop::mask_of;
use crate::sparsify::layers::{self, Target};
use lopper_engine::channels::is_depthwise;
use lopper_engine::{Graph, NodeId, Result, Tensor};

/// The smallest part of a layer's scores that counts as left, so that losses stay finite.
const LEFT: f64 = 1e-12;

/// A layer whose weights are scored one by one.
pub(super) struct Layer {
    pub node: NodeId,
    /// The score of each weight, at least 0, and 0 of those that are zero already.
    scores: Vec<f32>,
    /// The weights that a mask drops already.
    dead: Vec<bool>,
    /// The sum of the scores.
    all: f64,
    /// Whether losses are those of LAMP.
    relative: bool,
}

/// The weight of a layer divided at a granularity.
pub(super) struct Division {
    pub groups: Groups,
    scored: Scored,
    rule: Rule,
}

impl Layer {
    /// The layers of `graph` that `config`, whose granularity is that of single weights, sparsifies.
    ///
    /// # Errors
    /// Those of the criterion.
    pub fn all(graph: &Graph, config: &SparsifyConfig, evidence: Option<&Evidence>) -> Result<Vec<Self>> {
        let targets = layers::some_targets(graph, config)?;
        let sites: Vec<Site> = targets.iter().map(|target| target.site).collect();
        let surveyed = Evidence::survey(&config.criterion, graph, &sites)?;
        let normalization =
            config.normalization.unwrap_or_else(|| Normalization::across_layers(&config.criterion));
        let relative = normalization == Normalization::Lamp;
        let scoring = Scoring::new(&config.criterion)
            .normalization(if relative { Normalization::None } else { normalization })
            .seed(config.seed)
            .evidence(surveyed.as_ref().or(evidence));
        let scores = |target: &Target| scoring.scores(graph, &target.site);
        let scores: Vec<Vec<f32>> = targets.iter().map(scores).collect::<Result<_>>()?;
        let lowest = scores.iter().flatten().copied().fold(0.0, f32::min);
        let layers = targets.iter().zip(scores).map(|(target, mut scores)| {
            let dead: Vec<bool> = match layers::weight(graph, target.node).mask() {
                Some(mask) => mask.data().iter().map(|&live| live == 0.0).collect(),
                None => vec![false; scores.len()],
            };
            for (score, &dead) in scores.iter_mut().zip(&dead) {
                *score = if dead { 0.0 } else { *score - lowest };
            }
            let all = scores.iter().map(|&score| f64::from(score)).sum();
            Self { node: target.node, scores, dead, all, relative }
        });
        Ok(layers.collect())
    }

    /// The weight divided at `granularity`; none where that does not apply.
    pub fn divided(&self, graph: &Graph, granularity: Granularity) -> Option<Division> {
        let layer = &graph.nodes()[self.node].layer;
        if granularity.takes_whole_kernels() && is_depthwise(layer) {
            return None;
        }
        let groups = granularity.groups(layer).ok()?;
        let (mut sums, mut dead) = (vec![0.0; groups.count()], vec![true; groups.count()]);
        groups.for_each_weight(|i, group| {
            sums[group] += f64::from(self.scores[i]);
            dead[group] &= self.dead[i];
        });
        let scores = sums.into_iter().map(|sum| sum as f32).collect();
        let rule = granularity.quota().map_or(Rule::Context(Context::Local), Rule::Quota);
        Some(Division { groups, scored: Scored { scores, dead }, rule })
    }

    /// What dropping the groups `dropped` of `division` loses: the sum of their scores, or, by LAMP, Σ s / Σ (s that are at
    /// least as large) over the weights in the order in which they go, which is −ln of the share that is left.
    pub fn loss(&self, division: &Division, dropped: &[bool]) -> f64 {
        let mut lost = 0.0;
        division.groups.for_each_weight(|i, group| {
            if dropped[group] {
                lost += f64::from(self.scores[i]);
            }
        });
        match self.relative {
            true if self.all > 0.0 => -(1.0 - lost / self.all).max(LEFT).ln(),
            true => 0.0,
            false => lost,
        }
    }

    /// The number of weights, and of those that are live now.
    pub fn counts(&self) -> [usize; 2] {
        [self.dead.len(), self.dead.iter().filter(|&&dead| !dead).count()]
    }

    /// The mask of the layer's weight without the groups `dropped` of `division`.
    pub fn mask(&self, graph: &Graph, division: &Division, dropped: &[bool]) -> Tensor {
        let mut mask = mask_of(layers::weight(graph, self.node));
        division.groups.clear(dropped, mask.data_mut());
        mask
    }
}

impl Division {
    /// The groups that are dropped at `sparsity`: the lowest, those that are dead already first, and never all.
    pub fn dropped(&self, sparsity: f64) -> Vec<bool> {
        let before = vec![self.scored.dead.clone()];
        select_beside(std::slice::from_ref(&self.scored), self.rule, sparsity, before).concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conv;
    use lopper_engine::layer::Conv2d;
    use lopper_engine::{Layer as Kind, Param};

    /// `a`, a 1×1 convolution of these weights `[2, 1, 1, 4]`, and another convolution behind it.
    fn graph(weights: [f32; 8]) -> Graph {
        let mut graph = Graph::new(4);
        let Kind::Conv2d(a) = conv(2, 1, 4, 1) else { unreachable!() };
        let weight = Param::new(Tensor::from_vec(&[2, 1, 1, 4], weights.to_vec()).unwrap());
        let a = graph.push("a", Kind::Conv2d(Conv2d { weight, ..a }), &[0]).unwrap();
        graph.push("b", conv(3, 1, 2, 1), &[a]).unwrap();
        graph
    }

    fn by_weight(normalization: Option<Normalization>) -> SparsifyConfig {
        SparsifyConfig { granularity: Granularity::WEIGHT, normalization, ..SparsifyConfig::new(0.5) }
    }

    #[test]
    fn groups_are_scored_by_their_weights() {
        let graph = graph([1.0, -2.0, 3.0, 4.0, 5.0, 0.5, 1.0, 3.5]);
        let layers = Layer::all(&graph, &by_weight(Some(Normalization::None)), None).unwrap();
        let [layer] = &layers[..] else { panic!("the output layer stays whole") };
        let pairs = layer.divided(&graph, Granularity::BLOCK.block(2)).unwrap();
        // Of the channels 6, 2.5, 4 and 7.5, two go.
        let dropped = pairs.dropped(0.5);
        assert_eq!(dropped, [false, true, true, false]);
        assert!((layer.loss(&pairs, &dropped) - 6.5).abs() < 1e-6);
        let mask = layer.mask(&graph, &pairs, &dropped);
        assert_eq!(mask.data(), [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
        assert_eq!(layer.counts(), [8, 8]);
        assert!(layer.divided(&graph, Granularity::ROW).is_none(), "rows are of linear layers");
    }

    #[test]
    fn a_relative_loss_grows_with_the_share_that_goes() {
        let graph = graph([1.0, -2.0, 3.0, 4.0, 5.0, 0.5, 1.0, 3.5]);
        let layers = Layer::all(&graph, &by_weight(None), None).unwrap();
        let weights = layers[0].divided(&graph, Granularity::WEIGHT).unwrap();
        let loss = |sparsity: f64| layers[0].loss(&weights, &weights.dropped(sparsity));
        // 0.5, 1, 1 and 2 of 20.
        assert!((loss(0.5) + (15.5f64 / 20.0).ln()).abs() < 1e-6, "{}", loss(0.5));
        assert_eq!(loss(0.0), 0.0);
        assert!(loss(0.9) > loss(0.75) && loss(0.9).is_finite());
    }

    #[test]
    fn weights_that_are_zero_go_first_and_cost_nothing() {
        let mut graph = graph([1.0, -2.0, 3.0, 4.0, 5.0, 0.5, 1.0, 3.5]);
        let mask = Tensor::from_vec(&[2, 1, 1, 4], vec![1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]).unwrap();
        let a = graph.id("a").unwrap();
        layers::weight_mut(&mut graph, a).set_mask(Some(mask)).unwrap();
        let layers = Layer::all(&graph, &by_weight(Some(Normalization::None)), None).unwrap();
        let weights = layers[0].divided(&graph, Granularity::WEIGHT).unwrap();
        let dropped = weights.dropped(0.25);
        assert_eq!(dropped.iter().filter(|&&gone| gone).count(), 2);
        assert_eq!(layers[0].loss(&weights, &dropped), 0.0);
        assert_eq!(layers[0].counts(), [8, 6]);
    }
}
