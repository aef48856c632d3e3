//! Pruning: removing channels, so that every layer becomes smaller and stays dense.
//!
//! ```text
//!   before   conv1 [O, K, K, C] ─ bn ─ relu ─ conv2 [P, K, K, O]
//!   after    conv1 [L, K, K, C] ─ bn ─ relu ─ conv2 [P, K, K, L]          L of O channels kept
//! ```
//!
//! What is removed is a *unit*: all channels that residual sums, batch norms, flattening and concatenation tie together
//! ([`crate::channels`]). A [`PrunePlan`] says which units of which group stay: those that sparsification left alive
//! ([`PrunePlan::dead`]), or those that a criterion scores highest ([`UnitScores`], [`PrunePlan::lowest`]).
//!
//! [`prune`] is three steps: units that are alive are masked, so that every channel to be removed is constant; the
//! constants are absorbed by the layers that read them; what is left over is sliced off. So
//!
//! ```text
//!   prune(g, plan, Drop)  = mask(g, plan)
//!   prune(g, plan, Exact) = mask(g, the units of the plan that are alive), which is g where none is
//! ```
//!
//! After batch norm a dead channel is a constant, mostly not zero: `max(0, β − γμ/√(σ² + ε))` behind a ReLU. Published
//! implementations drop that, which changes the function; [`Constants`] chooses.
//!
//! It does not apply to frozen units (the image, the network's output), and never takes the last channel of a group.

mod absorb;
mod config;
mod mask;
mod plan;
mod report;
mod score;
mod slice;
mod state;

pub use config::PruneConfig;
pub use mask::mask;
pub use plan::{GroupPlan, PrunePlan};
pub use score::UnitScores;

use crate::channels::ChannelFlow;
use crate::names::named;
use crate::weights::require_copy;
use absorb::{Absorbed, absorb};
use lopper_engine::rewrite::Rewrite;
use lopper_engine::{Graph, Result};
use report::Told;
use serde::{Deserialize, Serialize};
use slice::slice;
use state::{State, states};

/// What becomes of the value of a dead channel that is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constants {
    /// The layers that read it absorb it: the function stays the same.
    #[default]
    Exact,
    /// It becomes zero, as in published implementations; the report says how large it was.
    Drop,
}

named!(Constants, "constants");

/// Removes the channels that `plan` does not keep. An error where the plan does not fit.
///
/// Under [`Constants::Exact`] a few dead channels may stay: carriers (see the report), and those of which something
/// between them and a reader makes an image that is not constant.
pub fn prune(graph: &Graph, plan: &PrunePlan, constants: Constants) -> Result<Rewrite> {
    require_copy(graph, "prune")?;
    let flow = ChannelFlow::new(graph)?;
    let states = states(graph, &flow)?;
    let planned = plan.removed(graph, &flow)?;
    let (mut masked, mut removed) = (planned.clone(), planned.clone());
    if constants == Constants::Exact {
        for (unit, state) in states.iter().enumerate() {
            masked[unit] &= *state == State::Live;
            removed[unit] &= !matches!(state, State::Uneven { .. });
        }
    }
    let mut pruned = mask::mask_units(graph, &flow, &masked)?;
    let absorbed = match constants {
        Constants::Exact => absorb(&mut pruned, &flow, &mut removed)?,
        Constants::Drop => Absorbed::default(),
    };
    let mut edits = absorbed.edits.clone();
    edits.extend(slice(&mut pruned, &flow, &removed));
    let told =
        Told { before: graph, after: &pruned, flow: &flow, states: &states, planned, removed, absorbed };
    Ok(Rewrite { report: told.report(), graph: pruned, edits })
}
