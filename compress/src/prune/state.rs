//! The state of a unit: live, or dead with a known value.

use crate::channels::{ChannelFlow, ends_at};
use crate::constants::{Constant, constants};
use crate::weights::{Filters, is_depthwise};
use lopper_engine::{Graph, NodeId, Result};

/// A unit, as the layers that read its channels see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// It may carry information.
    Live,
    /// Every reader reads zero from it.
    Zero,
    /// Every reader reads a constant from it. Holds the largest in magnitude.
    Constant(f32),
    /// All its filters are zero, but a layer on the way to this reader (the padding of an average or of a depthwise
    /// convolution) turns their output into a non-constant image.
    Uneven {
        /// The reader.
        reader: NodeId,
    },
}

/// The state of each unit of `flow`.
pub(super) fn states(graph: &Graph, flow: &ChannelFlow) -> Result<Vec<State>> {
    let known = constants(graph)?;
    let mut states = vec![State::Zero; flow.unit_count()];
    let dead = dead_units(graph, flow);
    for reader in readers(graph) {
        let input = graph.nodes()[reader].inputs[0];
        for (&unit, &value) in flow.units(input).iter().zip(&known[input]) {
            states[unit] = seen(states[unit], value, reader, dead[unit]);
        }
    }
    Ok(states)
}

/// The layers that read whole channels and can absorb a constant one.
pub(super) fn readers(graph: &Graph) -> impl Iterator<Item = NodeId> {
    (0..graph.nodes().len()).filter(|&id| ends_at(&graph.nodes()[id].layer))
}

/// The state of a unit in state `before` after one more reader reads a channel of it as `value`.
fn seen(before: State, value: Constant, reader: NodeId, dead: bool) -> State {
    match (before, value) {
        (State::Live | State::Uneven { .. }, _) => before,
        (_, None) if dead => State::Uneven { reader },
        (_, None) => State::Live,
        (_, Some(0.0)) => before,
        (State::Constant(largest), Some(value)) if largest.abs() >= value.abs() => before,
        (_, Some(value)) => State::Constant(value),
    }
}

/// Whether every filter that makes the unit is zero. Depthwise filters do not count: their channels are tied to those
/// of the layer before them.
fn dead_units(graph: &Graph, flow: &ChannelFlow) -> Vec<bool> {
    let mut made = vec![false; flow.unit_count()];
    let mut alive = vec![false; flow.unit_count()];
    for (id, node) in graph.nodes().iter().enumerate() {
        if is_depthwise(&node.layer) {
            continue;
        }
        let Some(filters) = Filters::of(&node.layer) else { continue };
        for (o, &unit) in flow.units(id).iter().enumerate() {
            made[unit] = true;
            alive[unit] |= filters.filter(o).iter().any(|&w| w != 0.0);
        }
    }
    made.iter().zip(&alive).map(|(&made, &alive)| made && !alive).collect()
}
