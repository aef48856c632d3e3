//! The widths of all nodes as functions of the channels that groups keep.

use lopper_engine::channels::ChannelFlow;
use lopper_engine::{Graph, NodeId};

/// The widths of a network's nodes.
#[derive(Debug)]
pub(super) struct NodeWidths(Vec<Node>);

/// A node's width: `fixed + Σ channels · kept / units` over the groups whose channels it has.
#[derive(Debug, Default)]
struct Node {
    fixed: usize,
    /// Group, its channels in this node, and its units.
    parts: Vec<(usize, usize, usize)>,
}

impl NodeWidths {
    /// The widths of `graph`, where only the groups of `flow` at `groups` are cut.
    pub fn new(graph: &Graph, flow: &ChannelFlow, groups: &[usize]) -> Self {
        let mut group_of = vec![None; flow.unit_count()];
        for (position, &group) in groups.iter().enumerate() {
            flow.groups()[group].units.iter().for_each(|unit| group_of[unit.id] = Some(position));
        }
        let node = |id: NodeId| {
            let (mut fixed, mut counts) = (0, vec![0; groups.len()]);
            for &unit in flow.units(id) {
                match group_of[unit] {
                    Some(group) => counts[group] += 1,
                    None => fixed += 1,
                }
            }
            let parts = counts.into_iter().enumerate().filter(|&(_, count)| count > 0);
            let parts = parts.map(|(at, count)| (at, count, flow.groups()[groups[at]].units.len()));
            Node { fixed, parts: parts.collect() }
        };
        Self((0..graph.nodes().len()).map(node).collect())
    }

    /// The width of `node` if group g keeps `kept[g]` units. Exact if all units of a group have equally many channels in the
    /// node, and rounded elsewhere.
    pub fn of(&self, node: NodeId, kept: &[usize]) -> usize {
        let Node { fixed, parts } = &self.0[node];
        parts.iter().fold(*fixed, |sum, &(group, channels, units)| {
            sum + (2 * channels * kept[group] + units) / (2 * units)
        })
    }

    /// The groups that have channels in `node`.
    pub fn groups(&self, node: NodeId) -> impl Iterator<Item = usize> + '_ {
        self.0[node].parts.iter().map(|&(group, ..)| group)
    }
}
