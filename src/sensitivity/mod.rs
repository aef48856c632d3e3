//! The price of each cut: accuracy and estimated time as each group of channels and each layer is cut deeper and deeper.
//!
//! ```text
//!   cut ──► network with one cut ──┬─► suffix, from cached values ──► accuracy, images lost and gained
//!                                  └─► plan ──► estimated milliseconds
//! ```
//!
//! Cuts are sorted by the first layer that they change. All layers before it compute what they computed before, so
//! their values are kept, batch by batch, and move on with the cuts: the front of the network is evaluated once. The
//! values of a suffix are the bits of a whole run.

mod cuts;
mod follow;
mod prefix;
mod sample;
mod sweep;
mod table;

pub use cuts::{Cut, Cuts, Evidences, Way};
pub use prefix::Prefix;
pub use sample::{images_for, stratified};
pub use sweep::{Options, Sweep};
pub use table::{Followed, Following, Point, Sensitivity, Tally};
