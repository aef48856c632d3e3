//! Pruning to a target: the channels that lose the least for what they save, until a network is as fast or as small as asked.
//!
//! ```text
//!   scores ─► loss of each width of each group ┐
//!                                              ├─ knapsack ─► widths ─► prune ─► measure ─► within 5 %?
//!   outline ─► price of each width             ┘     ▲                                 │ no
//!                                                    └──── estimate corrected by the ratio
//! ```
//!
//! Prices are exact for multiply-accumulates, parameters and bytes. Those of latencies are estimated by a
//! [`Clock`](crate::techniques::Clock), which also measures the result.

mod config;
mod paying;
mod prices;
mod reach;
mod widths;

pub use config::Target;
pub(super) use paying::paying;
pub(super) use reach::{Candidate, Reached, Reaching};
