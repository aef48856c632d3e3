//! What techniques that aim at a target share: amounts, the knapsack that chooses by estimate, and the measurements that correct
//! a promised latency.
//!
//! ```text
//!   losses of all choices ┐
//!                         ├─ knapsack ─► choice ─► network ─► measure ─► within 2 %?
//!   prices of all choices ┘     ▲                                │ no
//!                               └──── estimate corrected by the ratio
//! ```

mod amount;
mod estimate;
mod knapsack;
mod latency;
mod offer;

pub use amount::Amount;
pub(crate) use estimate::milliseconds;
pub(crate) use knapsack::{Item, Prices, choose, whole};
pub(crate) use latency::{Baseline, Choices, Promise, Solution, to_latency};
pub(crate) use offer::{Offer, Offers};

/// The name of the line in a report that says what was reached.
pub(crate) const LINE: &str = "(target)";
