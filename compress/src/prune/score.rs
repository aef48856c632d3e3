//! What a unit is worth: the criteria of sparsification, asked of every layer that makes the unit.

use super::plan::names;
use crate::channels::{ChannelFlow, Group};
use crate::sparsify::{Criterion, Granularity, Taylor};
use lopper_engine::{Error, Graph, Layer, NodeId, Result};
use std::collections::BTreeMap;

/// The scores of all units, by group; none for a group that is not to be cut.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitScores {
    groups: Vec<Option<Vec<f32>>>,
}

impl UnitScores {
    /// Scores the groups that are not frozen and for which `eligible`, given the names of their layers, is true: the
    /// mean of `criterion` over the filters (of linear layers: rows) of a unit, depthwise ones left out, which live and
    /// die with the layer before them; the mean of |γ| over the batch norms that its channels run through. `seed` is
    /// read by [`Criterion::Random`], `taylor` by [`Criterion::Taylor`]. A group with a unit that no batch norm scales
    /// gets no scores from [`Criterion::BatchNormGamma`].
    pub fn new(
        graph: &Graph,
        criterion: Criterion,
        seed: u64,
        taylor: Option<&Taylor>,
        eligible: impl Fn(&[String]) -> bool,
    ) -> Result<Self> {
        let flow = ChannelFlow::new(graph)?;
        let wanted = |group: &Group| group.frozen.is_none() && eligible(&names(graph, group));
        let mut makes_wanted = vec![false; graph.nodes().len()];
        for group in flow.groups().iter().filter(|group| wanted(group)) {
            group.layers.iter().for_each(|&layer| makes_wanted[layer] = true);
        }
        let mut means = Means::new(&flow);
        for (id, node) in graph.nodes().iter().enumerate() {
            match (&node.layer, criterion) {
                (Layer::BatchNorm(bn), Criterion::BatchNormGamma) => {
                    means.add(flow.units(id), bn.weight.value().data().iter().map(|gamma| gamma.abs()));
                }
                (_, Criterion::BatchNormGamma) => {}
                (Layer::Conv2d(conv), _) if conv.is_depthwise() => {}
                (Layer::Conv2d(_), _) if makes_wanted[id] => {
                    means.add(
                        flow.units(id),
                        scores(graph, id, Granularity::Filter, criterion, seed, taylor)?,
                    );
                }
                (Layer::Linear(_), _) if makes_wanted[id] => {
                    means.add(flow.units(id), scores(graph, id, Granularity::Row, criterion, seed, taylor)?);
                }
                _ => {}
            }
        }
        Ok(means.scores(wanted))
    }

    /// Scores from elsewhere: one number for each output channel of each layer named; a unit's is their mean. An error
    /// where a score is negative or not finite, or their number is not the layer's width.
    pub fn given(graph: &Graph, channels: &BTreeMap<String, Vec<f32>>) -> Result<Self> {
        let flow = ChannelFlow::new(graph)?;
        let mut means = Means::new(&flow);
        for (layer, scores) in channels {
            let units = flow.units(graph.id(layer)?);
            if scores.len() != units.len() {
                let (width, found) = (units.len(), scores.len());
                return Err(Error::invalid(format!("scores of `{layer}`: expected {width}, found {found}")));
            }
            if let Some(score) = scores.iter().find(|s| !s.is_finite() || **s < 0.0) {
                return Err(Error::invalid(format!(
                    "scores of `{layer}`: expected at least 0, found {score}"
                )));
            }
            means.add(units, scores.iter().copied());
        }
        Ok(means.scores(|group| group.frozen.is_none()))
    }

    /// The scores of the units of each group of `flow`. An error where they are those of another network.
    pub(super) fn of_groups(&self, flow: &ChannelFlow) -> Result<impl Iterator<Item = Option<&[f32]>>> {
        let fits = |(group, scores): (&Group, &Option<Vec<f32>>)| {
            scores.as_ref().is_none_or(|scores| scores.len() == group.units.len())
        };
        match self.groups.len() == flow.groups().len() && flow.groups().iter().zip(&self.groups).all(fits) {
            true => Ok(self.groups.iter().map(Option::as_deref)),
            false => Err(Error::invalid("prune: the scores are those of another network")),
        }
    }
}

fn scores(
    graph: &Graph,
    id: NodeId,
    granularity: Granularity,
    criterion: Criterion,
    seed: u64,
    taylor: Option<&Taylor>,
) -> Result<Vec<f32>> {
    let groups = granularity.groups(&graph.nodes()[id].layer).expect("the granularity is the layer's");
    criterion.scores(graph, id, &groups, seed, taylor)
}

/// The mean of what is known of each unit.
struct Means<'a> {
    flow: &'a ChannelFlow,
    sums: Vec<(f64, usize)>,
}

impl<'a> Means<'a> {
    fn new(flow: &'a ChannelFlow) -> Self {
        Self { flow, sums: vec![(0.0, 0); flow.unit_count()] }
    }

    fn add(&mut self, units: &[usize], scores: impl IntoIterator<Item = f32>) {
        for (&unit, score) in units.iter().zip(scores) {
            let (sum, count) = self.sums[unit];
            self.sums[unit] = (sum + f64::from(score), count + 1);
        }
    }

    fn scores(self, wanted: impl Fn(&Group) -> bool) -> UnitScores {
        let mean = |unit: usize| match self.sums[unit] {
            (_, 0) => None,
            (sum, count) => Some((sum / count as f64) as f32),
        };
        let of_group = |group: &Group| match wanted(group) {
            true => group.units.iter().map(|unit| mean(unit.id)).collect(),
            false => None,
        };
        UnitScores { groups: self.flow.groups().iter().map(of_group).collect() }
    }
}
