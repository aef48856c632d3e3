//! The rewrite: masks live units, absorbs constants, slices off the rest.

use super::PrunePlan;
use super::mask::mask_units;
use super::report::Changes;
use crate::names::named;
use crate::weights::require_copy;
use lopper_engine::channels::{self, ChannelFlow, State, keep_parts, remove, slice, states};
use lopper_engine::rewrite::Rewrite;
use lopper_engine::{Graph, NodeId, Result};
use serde::{Deserialize, Serialize};

/// The treatment of a dead channel whose constant value is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constants {
    /// The layers that read the channel absorb its value: the function does not change.
    #[default]
    Exact,
    /// The value becomes zero, as in published implementations. The report gives its size.
    Drop,
}

named!(Constants, "constants");

/// Removes the channels that `plan` does not keep. An error if the plan does not fit.
///
/// Under [`Constants::Exact`] a few dead channels may stay: carriers (see the report), and channels that some layer
/// on the way to a reader turns into a non-constant image.
pub fn prune(graph: &Graph, plan: &PrunePlan, constants: Constants) -> Result<Rewrite> {
    let flow = ChannelFlow::new(graph)?;
    let Cut { graph: after, states, planned, removed, notes } = Cut::new(graph, &flow, plan, constants)?;
    let changes =
        Changes { before: graph, after: &after, flow: &flow, states: &states, planned, removed, notes };
    Ok(Rewrite { report: changes.report(), graph: after })
}

/// A pruned network, and what was removed.
pub(super) struct Cut {
    pub graph: Graph,
    /// The states of the units before.
    pub states: Vec<State>,
    /// For each unit, whether the plan removes it.
    pub planned: Vec<bool>,
    /// For each unit, whether it is gone.
    pub removed: Vec<bool>,
    /// Where constants went, by the layer that read them.
    pub notes: Vec<(NodeId, &'static str)>,
}

impl Cut {
    /// `graph` of channels `flow` without those that `plan` does not keep.
    pub fn new(graph: &Graph, flow: &ChannelFlow, plan: &PrunePlan, constants: Constants) -> Result<Self> {
        require_copy(graph, "prune")?;
        let states = states(graph, flow)?;
        let planned = plan.removed(graph, flow)?;
        let mut masked = planned.clone();
        if constants == Constants::Exact {
            masked.iter_mut().zip(&states).for_each(|(masked, state)| *masked &= *state == State::Live);
        }
        let mut pruned = mask_units(graph, flow, &masked)?;
        let (removed, notes) = match constants {
            Constants::Exact => {
                let known = channels::constants(&pruned)?;
                // A unit that is masked now may still reach a reader as an image that is not constant.
                let masked_states = channels::states(&pruned, flow)?;
                let removal = remove(&mut pruned, flow, &known, &masked_states, &planned)?;
                (removal.removed, removal.notes)
            }
            Constants::Drop => {
                let mut removed = planned.clone();
                keep_parts(graph, flow, &mut removed);
                slice(&mut pruned, flow, &removed);
                (removed, Vec::new())
            }
        };
        Ok(Self { graph: pruned, states, planned, removed, notes })
    }
}
