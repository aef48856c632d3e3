//! The state of a unit: live, unread, or dead with a known value.

use super::constants::{Constant, constants};
use super::demand::demanded;
use super::filters::{Filters, is_depthwise};
use super::flow::{ChannelFlow, Group, ends_at, mixes};
use super::zeros::{Nonzeros, Zeros};
use crate::{Graph, NodeId, Result};

/// A unit, as the layers that read its channels see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// It carries information.
    Live,
    /// It may carry information, but the network's output does not depend on it: every weight that reads it is zero, or
    /// belongs to a filter that nothing reads.
    Unread,
    /// Every reader reads zero from it.
    Zero,
    /// Every reader reads a constant from it. Holds the largest in magnitude.
    Constant(f32),
    /// All its filters are zero, but a layer on the way to this reader (the padding of an average or of a depthwise
    /// convolution, or a gate) turns their output into a non-constant image.
    Uneven {
        /// The reader.
        reader: NodeId,
    },
}

/// The state of each unit of `flow`, derived from the values of the weights. Fails as [`ChannelFlow::new`] does.
pub fn states(graph: &Graph, flow: &ChannelFlow) -> Result<Vec<State>> {
    Ok(states_of(graph, flow, &constants(graph)?, Zeros::Values))
}

/// The state of each unit of `flow`, given the constants of every node; both rely on `zeros`.
pub(super) fn states_of(
    graph: &Graph,
    flow: &ChannelFlow,
    known: &[Vec<Constant>],
    zeros: Zeros,
) -> Vec<State> {
    let mut states = vec![State::Zero; flow.unit_count()];
    let dead = dead_units(graph, flow, zeros);
    // A layer norm reads its channels, too: those that are constant go into its statistics.
    let norms = (0..graph.nodes().len()).filter(|&id| mixes(&graph.nodes()[id].layer));
    for reader in readers(graph).chain(norms) {
        let node = &graph.nodes()[reader];
        let input = node.inputs[0];
        // A weight that is not finite makes NaN of a zero, so it must keep reading.
        let constants = known[input].iter().any(Option::is_some);
        let absorbs = constants && Filters::of(&node.layer).is_none_or(|filters| filters.finite());
        for (&unit, &value) in flow.units(input).iter().zip(&known[input]) {
            states[unit] = seen(states[unit], value.filter(|_| absorbs), reader, dead[unit]);
        }
    }
    if zeros != Zeros::Filters {
        let live: Vec<bool> = states.iter().map(|state| *state == State::Live).collect();
        let demanded = demanded(graph, flow, &live, zeros);
        for (state, demanded) in states.iter_mut().zip(demanded) {
            if matches!(state, State::Live | State::Uneven { .. }) && !demanded {
                *state = State::Unread;
            }
        }
    }
    states
}

/// For each unit of `flow`, whether it can go: its filters are zero, all its readers read constants, or nothing reads
/// it. A group whose units could all go keeps its first one. Frozen units stay.
pub fn removable(flow: &ChannelFlow, states: &[State]) -> Vec<bool> {
    let mut removed = vec![false; flow.unit_count()];
    let free = |group: &&Group| group.frozen.is_none();
    for group in flow.groups().iter().filter(free) {
        let dead = || group.units.iter().map(|unit| unit.id).filter(|&unit| states[unit] != State::Live);
        let first = usize::from(dead().count() == group.units.len());
        dead().skip(first).for_each(|unit| removed[unit] = true);
    }
    removed
}

/// The layers that read whole channels and can absorb a constant one.
pub(super) fn readers(graph: &Graph) -> impl Iterator<Item = NodeId> {
    (0..graph.nodes().len()).filter(|&id| ends_at(&graph.nodes()[id].layer))
}

/// The state of a unit in state `before` after one more reader reads a channel of it as `value`.
fn seen(before: State, value: Constant, reader: NodeId, dead: bool) -> State {
    match (before, value) {
        (State::Live | State::Unread | State::Uneven { .. }, _) => before,
        (_, None) if dead => State::Uneven { reader },
        (_, None) => State::Live,
        (_, Some(0.0)) => before,
        (State::Constant(largest), Some(value)) if largest.abs() >= value.abs() => before,
        (_, Some(value)) => State::Constant(value),
    }
}

/// Whether every filter that makes the unit is zero. Depthwise filters do not count: their channels are tied to those
/// of the layer before them.
fn dead_units(graph: &Graph, flow: &ChannelFlow, zeros: Zeros) -> Vec<bool> {
    let mut made = vec![false; flow.unit_count()];
    let mut alive = vec![false; flow.unit_count()];
    for (id, node) in graph.nodes().iter().enumerate() {
        if is_depthwise(&node.layer) {
            continue;
        }
        let Some(filters) = Filters::of(&node.layer) else { continue };
        let nonzeros = Nonzeros::new(&node.layer, &filters, zeros);
        for (o, &unit) in flow.units(id).iter().enumerate() {
            made[unit] = true;
            alive[unit] |= nonzeros.any(o);
        }
    }
    made.iter().zip(&alive).map(|(&made, &alive)| made && !alive).collect()
}
