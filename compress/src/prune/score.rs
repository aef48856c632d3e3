//! Unit scores: a criterion, applied to every layer that produces the unit.

use super::width::Width;
use crate::criteria::{Coupling, Criterion, Joined, Scoring, Site, Subject};
use crate::granularity::{Granularity, Groups};
use lopper_engine::channels::{ChannelFlow, Group, ends_at, is_depthwise};
use lopper_engine::{Error, Graph, Layer, Result};
use std::collections::{BTreeSet, HashMap};

/// The scores of all units, by group; none for a group that is not pruned.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitScores {
    groups: Vec<Option<Vec<f32>>>,
}

impl UnitScores {
    /// Scores the groups that are not frozen and for which `eligible`, given the names of their layers, is true. The
    /// score of a unit joins its channels' scores over the layers that the criterion reads, by default as their mean. These are either
    /// filters (for linear layers, rows), except depthwise ones, which are tied to the preceding layer, or all batch
    /// norms that the channels pass through. A group has no scores if the criterion reads no layer of one of its
    /// units.
    pub fn new(graph: &Graph, scoring: &Scoring, eligible: impl Fn(&[String]) -> bool) -> Result<Self> {
        let flow = ChannelFlow::new(graph)?;
        let wanted = Wanted::new(graph, &flow, eligible);
        let mut joined = Units::new(&flow, scoring.joins());
        for site in wanted.sites(graph, &flow, scoring.criterion()) {
            joined.add(flow.units(site.node), scoring.scores(graph, &site)?);
        }
        Ok(joined.scores(&wanted))
    }

    /// The sites that [`Self::new`] scores by `criterion`, in graph order: those for which evidence is collected.
    pub fn sites(
        graph: &Graph,
        criterion: &Criterion,
        eligible: impl Fn(&[String]) -> bool,
    ) -> Result<Vec<Site>> {
        let flow = ChannelFlow::new(graph)?;
        Ok(Wanted::new(graph, &flow, eligible).sites(graph, &flow, criterion))
    }

    /// Scores of zero for the units that [`Self::new`] scores by `criterion`, which needs no evidence.
    pub(super) fn zeros(
        graph: &Graph,
        criterion: &Criterion,
        eligible: impl Fn(&[String]) -> bool,
    ) -> Result<Self> {
        let flow = ChannelFlow::new(graph)?;
        let wanted = Wanted::new(graph, &flow, eligible);
        let mut joined = Units::new(&flow, Coupling::Mean);
        for site in wanted.sites(graph, &flow, criterion) {
            joined.add(flow.units(site.node), std::iter::repeat(0.0));
        }
        Ok(joined.scores(&wanted))
    }

    /// The groups that have scores, in the order of `flow`.
    pub(super) fn widths(&self, graph: &Graph, flow: &ChannelFlow) -> Result<Vec<Width>> {
        let scored = flow.groups().iter().zip(self.of_groups(flow)?);
        let [h, w, c] = graph.info.input;
        let shapes = graph.shapes([1, h, w, c])?;
        let stage = |group: &Group| match shapes[group.layers[0]].as_slice() {
            &[_, h, w, _] => format!("{h}x{w}"),
            _ => "features".to_string(),
        };
        let width = |((group, scores), kind): ((&Group, Option<&[f32]>), String)| {
            let units = scores?.len();
            Some(Width { layers: group.layer_names(graph), units, kind, stage: stage(group) })
        };
        Ok(scored.zip(kinds(graph, flow)).filter_map(width).collect())
    }

    /// The unit scores of each group of `flow`. Returns an error if the scores belong to a different network.
    pub(super) fn of_groups(&self, flow: &ChannelFlow) -> Result<impl Iterator<Item = Option<&[f32]>>> {
        let fits = |(group, scores): (&Group, &Option<Vec<f32>>)| {
            scores.as_ref().is_none_or(|scores| scores.len() == group.units.len())
        };
        let (expected, found) = (flow.groups().len(), self.groups.len());
        match expected == found && flow.groups().iter().zip(&self.groups).all(fits) {
            true => Ok(self.groups.iter().map(Option::as_deref)),
            false => Err(Error::invalid(format!(
                "prune: the scores belong to a different network, of {found} groups of channels instead of {expected} or of \
                 other widths: make UnitScores from the network to prune"
            ))),
        }
    }
}

/// The structure around each group of `flow`: the kinds and kernels of the layers that make its channels, and of those that
/// read them. Widths do not count, so that the blocks of all stages of a ResNet are alike.
fn kinds(graph: &Graph, flow: &ChannelFlow) -> Vec<String> {
    let describe = |layer: &Layer| match layer {
        Layer::Conv2d(conv) => format!("{}{:?}", layer.kind(), conv.kernel()),
        layer => layer.kind().to_string(),
    };
    let groups = flow.groups();
    let units = |(index, group): (usize, &Group)| {
        group.units.iter().map(move |unit| (unit.id, index)).collect::<Vec<_>>()
    };
    let group_of: HashMap<usize, usize> = groups.iter().enumerate().flat_map(units).collect();
    let mut readers = vec![Vec::new(); groups.len()];
    for node in graph.nodes().iter().filter(|node| ends_at(&node.layer)) {
        let read: BTreeSet<usize> =
            flow.units(node.inputs[0]).iter().filter_map(|unit| group_of.get(unit).copied()).collect();
        read.into_iter().for_each(|group| readers[group].push(describe(&node.layer)));
    }
    let kind = |(group, mut readers): (&Group, Vec<String>)| {
        let layers = group.layers.iter().map(|&layer| &graph.nodes()[layer].layer);
        let mut makers: Vec<String> = layers.map(describe).collect();
        makers.sort();
        readers.sort();
        format!("{} to {}", makers.join(", "), readers.join(", "))
    };
    groups.iter().zip(readers).map(kind).collect()
}

/// The groups to score.
pub(super) struct Wanted {
    /// For each group, whether it is scored.
    pub groups: Vec<bool>,
    /// For each unit, whether its group is scored.
    units: Vec<bool>,
}

impl Wanted {
    /// The groups of `flow` that are not frozen and for which `eligible`, given the names of their layers, is true.
    pub fn new(graph: &Graph, flow: &ChannelFlow, eligible: impl Fn(&[String]) -> bool) -> Self {
        let wanted = |group: &Group| group.frozen.is_none() && eligible(&group.layer_names(graph));
        let groups: Vec<bool> = flow.groups().iter().map(wanted).collect();
        let mut units = vec![false; flow.unit_count()];
        for (group, _) in flow.groups().iter().zip(&groups).filter(|(_, wanted)| **wanted) {
            group.units.iter().for_each(|unit| units[unit.id] = true);
        }
        Self { groups, units }
    }

    /// The layers that `criterion` reads and that have output channels in wanted groups.
    pub fn sites(&self, graph: &Graph, flow: &ChannelFlow, criterion: &Criterion) -> Vec<Site> {
        let site = |node: usize| {
            let layer = &graph.nodes()[node].layer;
            let groups = match (criterion.subject(), layer) {
                (Subject::BatchNorm, Layer::BatchNorm(bn)) => Some(Groups::of_channels(bn.channels())),
                (Subject::Weight, layer) if !is_depthwise(layer) => filters(layer),
                _ => None,
            };
            let wanted = flow.units(node).iter().any(|&unit| self.units[unit]);
            groups.filter(|_| wanted).map(|groups| Site { node, groups })
        };
        (0..graph.nodes().len()).filter_map(site).collect()
    }
}

/// The weight of a convolution or linear layer, with one group per output channel.
fn filters(layer: &Layer) -> Option<Groups> {
    let filters = Granularity::FILTER.groups(layer).or_else(|_| Granularity::ROW.groups(layer));
    filters.ok()
}

/// The scores of each unit so far, joined.
pub(super) struct Units<'a> {
    flow: &'a ChannelFlow,
    coupling: Coupling,
    joined: Vec<Joined>,
}

impl<'a> Units<'a> {
    /// Those of the units of `flow` before the first score.
    pub fn new(flow: &'a ChannelFlow, coupling: Coupling) -> Self {
        Self { flow, coupling, joined: vec![Joined::default(); flow.unit_count()] }
    }

    /// Adds the `scores` of a layer whose output channels are `units`.
    pub fn add(&mut self, units: &[usize], scores: impl IntoIterator<Item = f32>) {
        for (&unit, score) in units.iter().zip(scores) {
            self.joined[unit].add(self.coupling, score.into());
        }
    }

    /// The scores of the groups that are `wanted`.
    pub fn scores(self, wanted: &Wanted) -> UnitScores {
        let score = |unit: usize| {
            let joined = self.joined[unit];
            (joined.count > 0).then(|| joined.finish(self.coupling) as f32)
        };
        let of_group = |(group, &wanted): (&Group, &bool)| match wanted {
            true => group.units.iter().map(|unit| score(unit.id)).collect(),
            false => None,
        };
        UnitScores { groups: self.flow.groups().iter().zip(&wanted.groups).map(of_group).collect() }
    }
}
