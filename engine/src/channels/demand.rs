//! Demand: the units that the network's output depends on.
//!
//! ```text
//!   conv1 ─ relu ─ conv2 ─ … ─ output          conv1[c] is demanded if a demanded filter of conv2 has a weight for c
//! ```
//!
//! Demand spreads backward from the frozen units: a filter that makes a demanded unit demands the units that it weighs, and
//! a channel behind a layer norm demands all channels of its input, which its statistics depend on. Each filter is visited
//! once.

use super::filters::{Filters, is_depthwise};
use super::flow::{ChannelFlow, mixes};
use super::zeros::{Nonzeros, Zeros};
use crate::{Graph, NodeId};

/// For each unit of `flow`, whether the network's output depends on it. Units that are not `live` hold the same values,
/// whatever their filters read, so they demand nothing.
pub(super) fn demanded(graph: &Graph, flow: &ChannelFlow, live: &[bool], zeros: Zeros) -> Vec<bool> {
    let mut demand = Demand::new(flow);
    let (makers, norms) = (makers(graph, flow), norms(graph, flow));
    let mut done = vec![false; graph.nodes().len()];
    while let Some(unit) = demand.waiting.pop() {
        if !live[unit] && !demand.frozen[unit] {
            continue;
        }
        for &norm in &norms[unit] {
            if !std::mem::replace(&mut done[norm], true) {
                demand.of_units(flow.units(norm));
            }
        }
        for &(node, filter) in &makers[unit] {
            demand.of_filter(graph, node, filter, zeros);
        }
    }
    demand.units
}

/// The filters that make each unit. Depthwise filters weigh only channels of their own unit.
fn makers(graph: &Graph, flow: &ChannelFlow) -> Vec<Vec<(NodeId, usize)>> {
    let mut makers = vec![Vec::new(); flow.unit_count()];
    for (id, node) in graph.nodes().iter().enumerate() {
        if Filters::of(&node.layer).is_some() && !is_depthwise(&node.layer) {
            flow.units(id).iter().enumerate().for_each(|(filter, &unit)| makers[unit].push((id, filter)));
        }
    }
    makers
}

/// The layer norms that each unit passes.
fn norms(graph: &Graph, flow: &ChannelFlow) -> Vec<Vec<NodeId>> {
    let mut norms = vec![Vec::new(); flow.unit_count()];
    for (id, _) in graph.nodes().iter().enumerate().filter(|(_, node)| mixes(&node.layer)) {
        flow.units(id).iter().for_each(|&unit| norms[unit].push(id));
    }
    norms
}

/// Demand, as far as it is known.
struct Demand<'a> {
    flow: &'a ChannelFlow,
    frozen: Vec<bool>,
    units: Vec<bool>,
    /// Demanded units whose filters have not been visited.
    waiting: Vec<usize>,
}

impl<'a> Demand<'a> {
    fn new(flow: &'a ChannelFlow) -> Self {
        let mut frozen = vec![false; flow.unit_count()];
        let groups = flow.groups().iter().filter(|group| group.frozen.is_some());
        groups.flat_map(|group| &group.units).for_each(|unit| frozen[unit.id] = true);
        let waiting = (0..frozen.len()).filter(|&unit| frozen[unit]).collect();
        Self { flow, units: frozen.clone(), frozen, waiting }
    }

    /// Demands all of `units`.
    fn of_units(&mut self, units: &[usize]) {
        for &unit in units {
            if !self.units[unit] {
                self.units[unit] = true;
                self.waiting.push(unit);
            }
        }
    }

    /// Demands the units that filter `o` of `node` weighs.
    fn of_filter(&mut self, graph: &Graph, node: NodeId, o: usize, zeros: Zeros) {
        let node = &graph.nodes()[node];
        let Some(filters) = Filters::of(&node.layer) else { return };
        let (first, depth) = (filters.first_input(o), filters.depth());
        let inputs = &self.flow.units(node.inputs[0])[first..][..depth];
        // Most filters weigh every channel, so after the first one there is nothing left to demand.
        if inputs.iter().all(|&unit| self.units[unit]) {
            return;
        }
        for i in Nonzeros::new(&node.layer, &filters, zeros).positions(o) {
            let unit = inputs[i % depth];
            if !self.units[unit] {
                self.units[unit] = true;
                self.waiting.push(unit);
            }
        }
    }
}
