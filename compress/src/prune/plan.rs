//! The plan of a pruning: the channels of each group that stay. A plain value that prints as a table, serializes to
//! TOML or JSON, and can be replayed on the network that it was made for.

use super::fit::Fit;
use super::goal::{Goal, Pool, Rivals};
use super::score::UnitScores;
use super::selection::{Scored, lowest};
use crate::select::Context;
use lopper_engine::channels::{ChannelFlow, Group, removable, states};
use lopper_engine::{Error, Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// The channels that stay. Groups that are not listed are not cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrunePlan {
    /// In graph order.
    #[serde(default)]
    pub groups: Vec<GroupPlan>,
}

/// The channels of one group that stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPlan {
    /// The layers whose outputs are cut together, in graph order.
    pub layers: Vec<String>,
    /// The number of units in the group.
    pub units: usize,
    /// The units that stay, ascending. A unit is named by its first output channel in the first layer.
    pub keep: Vec<usize>,
}

impl PrunePlan {
    /// Removes every dead unit: its filters are zero, all its readers read constants, or no weight reads it. A group whose
    /// units are all dead keeps its first one.
    pub fn dead(graph: &Graph) -> Result<Self> {
        let flow = ChannelFlow::new(graph)?;
        let removed = removable(&flow, &states(graph, &flow)?);
        Ok(Self::from_kept(graph, &flow, |_, group| {
            (0..group.units.len()).filter(|&unit| !removed[group.units[unit].id]).collect()
        }))
    }

    /// Removes the `round(fraction · units)` units with the lowest scores, of each group or of all groups together, but
    /// never the last unit of a group. Groups without scores are not cut and do not count.
    pub fn lowest(graph: &Graph, scores: &UnitScores, context: Context, fraction: f64) -> Result<Self> {
        let flow = ChannelFlow::new(graph)?;
        let rivals = if context == Context::Local { Rivals::None } else { Rivals::All };
        let removals = Goal::Fraction(fraction, rivals).removals(&scores.widths(graph, &flow)?, 1.0)?;
        Self::without(graph, &flow, scores, &removals, &Fit::default())
    }

    /// Removes as many units with the lowest scores as `removals` says, within the limits of `fit`.
    pub(super) fn without(
        graph: &Graph,
        flow: &ChannelFlow,
        scores: &UnitScores,
        removals: &[Pool],
        fit: &Fit,
    ) -> Result<Self> {
        let (mut indices, mut scored) = (Vec::new(), Vec::new());
        for (index, (scores, group)) in scores.of_groups(flow)?.zip(flow.groups()).enumerate() {
            if let Some(scores) = scores {
                indices.push(index);
                scored.push(Scored { layers: group.layer_names(graph), scores });
            }
        }
        let mut dropped: Vec<Vec<bool>> = vec![Vec::new(); flow.groups().len()];
        for (index, units) in indices.into_iter().zip(lowest(&scored, removals, fit)) {
            dropped[index] = units;
        }
        Ok(Self::from_kept(graph, flow, |index, group| {
            let dropped = |unit: usize| dropped[index].get(unit).is_some_and(|&dropped| dropped);
            (0..group.units.len()).filter(|&unit| !dropped(unit)).collect()
        }))
    }

    /// Keeps the `counts[layer]` units with the highest scores in the first group that `layer` makes. Groups without a
    /// count are not cut.
    pub fn highest(graph: &Graph, scores: &UnitScores, counts: &BTreeMap<String, usize>) -> Result<Self> {
        let flow = ChannelFlow::new(graph)?;
        let mut first_group = HashMap::new();
        for (index, group) in flow.groups().iter().enumerate() {
            group.layers.iter().for_each(|&layer| _ = first_group.entry(layer).or_insert(index));
        }
        let mut wanted = BTreeMap::new();
        for (layer, &count) in counts {
            let group = first_group.get(&graph.id(layer)?).copied();
            let index = group.ok_or_else(|| {
                Error::invalid(format!(
                    "prune: `{layer}` makes no channels: name a convolution or linear layer"
                ))
            })?;
            let group = &flow.groups()[index];
            if let Some(why) = group.frozen {
                return Err(frozen(layer, why));
            }
            if !(1..=group.units.len()).contains(&count) {
                let units = group.units.len();
                return Err(Error::invalid(format!(
                    "prune: expected `{layer}` to keep 1 to {units} channels, found {count}"
                )));
            }
            wanted.insert(index, count);
        }
        Self::best(graph, &flow, scores, &wanted)
    }

    /// Keeps the `wanted[g]` units with the highest scores of group g of `flow`.
    pub(super) fn best(
        graph: &Graph,
        flow: &ChannelFlow,
        scores: &UnitScores,
        wanted: &BTreeMap<usize, usize>,
    ) -> Result<Self> {
        let scores: Vec<Option<&[f32]>> = scores.of_groups(flow)?.collect();
        if let Some(index) = wanted.keys().find(|&&index| scores[index].is_none()) {
            let layers = flow.groups()[*index].layer_names(graph).join(" and ");
            return Err(Error::invalid(format!(
                "prune: the channels of {layers} have no scores: include them, or choose a criterion that reads one of their \
                 layers"
            )));
        }
        Ok(Self::from_kept(graph, flow, |index, group| {
            let mut order: Vec<usize> = (0..group.units.len()).collect();
            if let (Some(scores), Some(&count)) = (scores[index], wanted.get(&index)) {
                order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
                order.truncate(count);
                order.sort_unstable();
            }
            order
        }))
    }

    /// The plan that keeps, in each group, the units at the positions that `keep` returns for the group's index. Frozen
    /// groups are not part of a plan.
    pub(super) fn from_kept(
        graph: &Graph,
        flow: &ChannelFlow,
        keep: impl Fn(usize, &Group) -> Vec<usize>,
    ) -> Self {
        let free = flow.groups().iter().enumerate().filter(|(_, group)| group.frozen.is_none());
        let plan = |(index, group): (usize, &Group)| GroupPlan {
            layers: group.layer_names(graph),
            units: group.units.len(),
            keep: keep(index, group).into_iter().map(|unit| group.units[unit].channel).collect(),
        };
        Self { groups: free.map(plan).collect() }
    }

    /// The plan without the groups that keep all of their channels.
    pub(super) fn of_cuts(mut self) -> Self {
        self.groups.retain(|group| group.keep.len() < group.units);
        self
    }

    /// For each unit of `flow`, whether the plan removes it. An error if the plan does not fit `graph`, empties a group
    /// or touches a frozen one.
    pub(super) fn removed(&self, graph: &Graph, flow: &ChannelFlow) -> Result<Vec<bool>> {
        let mut removed = vec![false; flow.unit_count()];
        let mut by_names: HashMap<Vec<String>, Vec<&Group>> = HashMap::new();
        for group in flow.groups() {
            by_names.entry(group.layer_names(graph)).or_default().push(group);
        }
        for plan in &self.groups {
            let group = plan.find(by_names.get(&plan.layers).map_or(&[], Vec::as_slice))?;
            let refuse = |what: String| Err(Error::invalid(format!("prune plan: {}: {what}", plan.title())));
            if plan.units != group.units.len() {
                return refuse(format!(
                    "made for {} channels, found {}: plan again for this network",
                    plan.units,
                    group.units.len()
                ));
            }
            if plan.keep.is_empty() {
                return refuse("keep: a group keeps at least one channel, found none".into());
            }
            let channels: HashSet<usize> = group.units.iter().map(|unit| unit.channel).collect();
            if let Some(channel) = plan.keep.iter().find(|channel| !channels.contains(channel)) {
                return refuse(format!("keep: expected channels of the group, found {channel}"));
            }
            let keep: HashSet<usize> = plan.keep.iter().copied().collect();
            let dropped = group.units.iter().filter(|unit| !keep.contains(&unit.channel));
            dropped.for_each(|unit| removed[unit.id] = true);
        }
        Ok(removed)
    }

    /// The number of units that stay, and of all units.
    pub fn counts(&self) -> (usize, usize) {
        self.groups.iter().fold((0, 0), |(kept, all), g| (kept + g.keep.len(), all + g.units))
    }
}

impl GroupPlan {
    /// The group that can be cut, among those that its layers make.
    fn find<'a>(&self, groups: &[&'a Group]) -> Result<&'a Group> {
        match (groups.iter().find(|group| group.frozen.is_none()), groups.first()) {
            (Some(group), _) => Ok(group),
            (None, Some(group)) => Err(frozen(&self.title(), group.frozen.unwrap_or_default())),
            (None, None) => Err(Error::invalid(format!(
                "prune plan: the network has no group of channels made by {} only",
                self.layers.join(" and ")
            ))),
        }
    }

    /// The first layer, and the number of others.
    fn title(&self) -> String {
        let first = self.layers.first().map_or("", String::as_str);
        match self.layers.len() {
            0 | 1 => first.to_string(),
            n => format!("{first} and {} more", n - 1),
        }
    }
}

/// The error for channels of `layers` that are tied to something.
pub(super) fn frozen(layers: &str, why: &str) -> Error {
    Error::invalid(format!(
        "prune: the channels of {layers} cannot be removed: they are tied to {why}; leave the layer out"
    ))
}

impl fmt::Display for PrunePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, all) = self.counts();
        writeln!(f, "plan: {kept} of {all} channels stay")?;
        let width = self.groups.iter().map(|g| g.title().chars().count()).max().unwrap_or(0);
        for group in &self.groups {
            write!(f, "  {:width$}  {:4} of {:4}", group.title(), group.keep.len(), group.units)?;
            if group.keep.len() < group.units {
                write!(f, ": {}", ranges(&group.keep))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Ascending numbers, with runs shortened: `0-3 7 9-10`.
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(" ")
}
