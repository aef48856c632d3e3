//! The network that a plan computes: `graph` without the channels that its masks kill.
//!
//! ```text
//!   planned   conv1 [O, K, K, C], filters masked ─ bn ─ relu ─ conv2 [P, K, K, O]
//!   lowered   conv1 [L, K, K, C]                 ─ bn ─ relu ─ conv2 [P, K, K, L]         L of O channels live
//! ```
//!
//! This is pruning: the same units, constants and carriers. It differs only in which zeros count ([`Zeros`]). What cannot
//! be removed, such as a filter whose channel a residual sum shares with a live one, keeps its mask.

use super::constants::constants_of;
use super::flow::{ChannelFlow, require_channels};
use super::remove::{Removal, remove};
use super::state::{State, removable, states_of};
use super::zeros::Zeros;
use crate::{Graph, Node, NodeId, Result};

/// A network with its live channels only.
pub(crate) struct Live {
    /// The network; its nodes are those of the original.
    pub graph: Graph,
    /// How each node was cut; none for nodes that were not.
    pub cuts: Vec<Option<Cut>>,
    /// An upper bound on the bytes of parameters that the original does not share.
    pub bytes: u64,
}

/// The number of removals, one after another. The second one rarely finds anything.
const PASSES: usize = 4;

/// How a node was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Input channels of the original.
    pub inputs: usize,
    /// Output channels of the original.
    pub outputs: usize,
    /// The output channels that were removed, by reason, and where constant inputs went.
    pub why: String,
}

/// `graph` without the channels that its masks kill, for images of shape `input`. None if there are no such channels; a
/// graph without masks costs nothing. Under `strict`, nothing is removed that would turn an infinity into NaN: see
/// [`Zeros::Filters`].
///
/// # Errors
/// If shapes do not fit, or if memory cannot hold the new parameters.
pub(crate) fn live(graph: &Graph, input: [usize; 4], strict: bool) -> Result<Option<Live>> {
    let zeros = if strict { Zeros::Filters } else { Zeros::Masks };
    let mut live = cut(graph, input, zeros)?;
    // A depthwise convolution that is left with one channel is an ordinary one, whose filters are no longer tied to its
    // input: more of them can go.
    for _ in 1..PASSES {
        let Some(before) = &live else { break };
        let Some(after) = cut(&before.graph, input, zeros)? else { break };
        live = Some(before.then(after));
    }
    Ok(live)
}

/// One removal. None if nothing can be removed.
fn cut(graph: &Graph, input: [usize; 4], zeros: Zeros) -> Result<Option<Live>> {
    let masked = |node: &Node| node.layer.params().iter().any(|(_, param)| param.mask().is_some());
    if !graph.nodes().iter().any(masked) {
        return Ok(None);
    }
    let shapes = graph.shapes(input)?;
    require_channels(&shapes)?;
    let flow = ChannelFlow::of(graph, &shapes);
    let known = constants_of(graph, &shapes, zeros);
    let states = states_of(graph, &flow, &known, zeros);
    let wanted = removable(&flow, &states);
    if !wanted.contains(&true) {
        return Ok(None);
    }
    let mut live = graph.clone();
    let removal = remove(&mut live, &flow, &known, &states, &wanted)?;
    if !removal.removed.contains(&true) {
        return Ok(None);
    }
    let mut carriers = vec![false; flow.unit_count()];
    removal.carriers.iter().for_each(|&unit| carriers[unit] = true);
    let cuts = Cuts { graph, flow: &flow, states: &states, removal: &removal, carriers }.all();
    Ok(Some(Live { graph: live, cuts, bytes: removal.bytes }))
}

impl Live {
    /// This removal, followed by `after`.
    fn then(&self, after: Self) -> Self {
        let cuts = self.cuts.iter().zip(after.cuts).map(|(first, second)| match (first, second) {
            (Some(first), Some(second)) => Some(first.then(&second)),
            (first, second) => first.clone().or(second),
        });
        Self { graph: after.graph, cuts: cuts.collect(), bytes: self.bytes.saturating_add(after.bytes) }
    }
}

impl Cut {
    fn then(&self, after: &Self) -> Self {
        let reasons = [self.why.as_str(), after.why.as_str()];
        let why: Vec<&str> = reasons.into_iter().filter(|why| !why.is_empty()).collect();
        Self { why: why.join("; "), ..*self }
    }
}

/// A removal, as its description needs it.
struct Cuts<'a> {
    graph: &'a Graph,
    flow: &'a ChannelFlow,
    states: &'a [State],
    removal: &'a Removal,
    /// For each unit, whether it stays as a carrier.
    carriers: Vec<bool>,
}

impl Cuts<'_> {
    fn all(&self) -> Vec<Option<Cut>> {
        let mut notes = vec![None; self.graph.nodes().len()];
        self.removal.notes.iter().for_each(|&(node, note)| _ = notes[node].get_or_insert(note));
        (0..notes.len()).map(|id| self.of(id, notes[id])).collect()
    }

    fn of(&self, id: NodeId, note: Option<&str>) -> Option<Cut> {
        let outputs = self.flow.units(id);
        let inputs = self.graph.nodes()[id].inputs.first().map_or(&[][..], |&input| self.flow.units(input));
        let gone = |units: &[usize]| units.iter().any(|&unit| self.removal.removed[unit]);
        if !gone(outputs) && !gone(inputs) {
            return None;
        }
        let why: Vec<String> = self.tally(outputs).into_iter().chain(note.map(String::from)).collect();
        Some(Cut { inputs: inputs.len(), outputs: outputs.len(), why: why.join("; ") })
    }

    /// The channels of `units` that were removed, and those that stay as carriers.
    fn tally(&self, units: &[usize]) -> Option<String> {
        let [mut zero, mut constant, mut unread, mut carriers] = [0; 4];
        for &unit in units {
            match self.states[unit] {
                _ if !self.removal.removed[unit] => {
                    carriers += usize::from(self.carriers[unit]);
                }
                State::Unread => unread += 1,
                State::Constant(_) => constant += 1,
                _ => zero += 1,
            }
        }
        let part = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let parts = [
            part(zero, "zero"),
            part(constant, "constant"),
            part(unread, "unread"),
            part(carriers, "kept as carrier"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
