//! Removal of dead and unread units, without a change of the network's function.

use super::absorb::{self, absorb, choose_carriers};
use super::constants::Constant;
use super::flow::ChannelFlow;
use super::slice::{self, slice};
use super::state::State;
use crate::{Graph, Layer, NodeId, Result, memory};

/// The outcome of a removal.
pub struct Removal {
    /// For each unit, whether it is gone.
    pub removed: Vec<bool>,
    /// Units that stay as carriers.
    pub carriers: Vec<usize>,
    /// Where constants went, by the layer that read them.
    pub notes: Vec<(NodeId, &'static str)>,
    /// An upper bound on the bytes of the new parameters.
    pub bytes: u64,
}

/// Clears `removed` for a unit of each gathering that would lose all of its channels: a group keeps a unit, but a part of its
/// channels may be read by layers of their own.
pub fn keep_parts(graph: &Graph, flow: &ChannelFlow, removed: &mut [bool]) {
    for (id, node) in graph.nodes().iter().enumerate() {
        let units = flow.units(id);
        if matches!(node.layer, Layer::Gather { .. }) && units.iter().all(|&unit| removed[unit]) {
            removed[units[0]] = false;
        }
    }
}

/// Removes the units `wanted` from `graph`, none of which is live: the layers that read their constants absorb them, then
/// the channels are sliced off. `known` are the constants of every node, and `states` the states of the units. Some
/// units stay: carriers, and those that are not constant everywhere ([`State::Uneven`]). Returns an error if memory cannot
/// hold the new parameters.
pub fn remove(
    graph: &mut Graph,
    flow: &ChannelFlow,
    known: &[Vec<Constant>],
    states: &[State],
    wanted: &[bool],
) -> Result<Removal> {
    let gone = |(&wanted, state): (&bool, &State)| wanted && !matches!(state, State::Uneven { .. });
    let mut removed: Vec<bool> = wanted.iter().zip(states).map(gone).collect();
    keep_parts(graph, flow, &mut removed);
    let carriers = choose_carriers(graph, flow, known, &mut removed);
    let bytes = slice::bytes(graph, flow, &removed);
    let rewritten = absorb::bytes(graph, flow, known, &removed);
    memory::require("the weights of live channels", bytes.saturating_add(rewritten))?;
    let notes = absorb(graph, flow, known, &removed);
    slice(graph, flow, &removed);
    Ok(Removal { removed, carriers, notes, bytes })
}
