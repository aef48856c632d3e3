//! Pruning: removes channels, so that layers become smaller and stay dense.
//!
//! ```text
//!   before   conv1 [O, K, K, C] ─ bn ─ relu ─ conv2 [P, K, K, O]
//!   after    conv1 [L, K, K, C] ─ bn ─ relu ─ conv2 [P, K, K, L]          L of O channels kept
//! ```
//!
//! Channels are removed in *units*: all channels that residual sums, batch norms, flattening and concatenation tie
//! together ([`crate::channels`]). A [`PrunePlan`] lists the units of each group that stay: those that sparsification
//! left alive and that are read ([`PrunePlan::dead`]), those with the highest scores ([`UnitScores`], [`PrunePlan::lowest`]), or
//! all but those that are named ([`PrunePlan::without_outputs`]). [`Proposals`] shows a plan cut by cut.
//!
//! [`prune`] takes three steps. It masks the live units to be removed, so that all their channels are constant; it lets
//! the layers that read these constants absorb them; and it slices the channels off. Hence
//!
//! ```text
//!   prune(g, plan, Drop)  = mask(g, plan)
//!   prune(g, plan, Exact) = mask(g, the live units of the plan), which is g if there are none
//! ```
//!
//! The first line requires activations that map 0 to 0: behind a sigmoid, a masked channel is ½ and a dropped one is 0.
//!
//! After batch norm a dead channel is constant, but usually not zero: `max(0, β − γμ/√(σ² + ε))` behind a ReLU.
//! Published implementations drop this constant, which changes the function; [`Constants`] selects the behavior.
//!
//! [`Pruner`] does the same step by step while the network trains, and the optimizer's state follows.
//!
//! Frozen units (the image, the network's output) are never removed, and every group keeps at least one channel.

mod by_index;
mod by_layer;
mod config;
mod fit;
mod goal;
mod group_scores;
mod mask;
mod plan;
mod planning;
mod proposals;
mod pruner;
mod report;
mod rewrite;
mod score;
mod selection;
mod stated;
mod targets;
mod technique;
mod width;

pub use crate::targets::Amount;
pub use by_layer::ByLayer;
pub use config::PruneConfig;
pub use fit::RoundTo;
pub use group_scores::{GroupScores, LayerScores};
pub use mask::mask;
pub use plan::{GroupPlan, PrunePlan};
pub use proposals::{Proposal, Proposals};
pub use pruner::{Pruner, Turn};
pub use rewrite::{Constants, prune};
pub use score::UnitScores;
pub use targets::Target;
pub use technique::PruneStage;
