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
mod rewrite;
mod score;
mod slice;
mod state;

pub use config::PruneConfig;
pub use mask::mask;
pub use plan::{GroupPlan, PrunePlan};
pub use rewrite::{Constants, prune};
pub use score::UnitScores;
