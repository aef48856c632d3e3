//! Sparsification to a target: which layer gets which pattern, and how many zeros.
//!
//! ```text
//!   layer × (granularity, sparsity) ─┬─ loss: scores of the weights that go ┐
//!                                    └─ price: the plan's estimate,         ├─ knapsack ─► masks ─► measure ─► correct
//!                                       in row lanes with its neighbors     ┘
//! ```
//!
//! The score of a group is the sum of those of its weights, so that granularities compare. A price is that of a network whose
//! weights have these zeros: what kernels skip, by the costs by which a plan chooses them.

mod config;
mod guided;
mod layer;
mod offers;
mod prices;
mod problem;
mod reach;

pub use config::SparsityTarget;
pub use guided::Guided;
pub(super) use reach::{check_reachable, to_target};
