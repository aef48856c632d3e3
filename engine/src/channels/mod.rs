//! Removal of channels that do not matter: which channels are tied, which are constant or unread, and how a network is
//! cut down to the others without a change of its function.
//!
//! ```text
//!   graph ─ flow ─ constants ─ state ─► units to remove ─ absorb ─ slice ─► smaller graph
//!           tied     known     dead?      chosen by        their    cut
//!           channels values    unread?    the caller       values   weights
//! ```
//!
//! Pruning chooses by the values of the weights and gives the smaller graph to the user. A plan chooses by the masks
//! (`live.rs`) and lowers the smaller graph: a network with masked filters runs like the pruned one.

mod absorb;
mod constants;
mod demand;
mod filters;
mod flow;
pub(crate) mod live;
mod remove;
mod slice;
mod slices;
mod state;
mod zeros;

pub use constants::{Constant, constants};
pub use filters::{Filters, filters_mut, has_weight, is_depthwise, overwrite, set_bias};
pub use flow::{ChannelFlow, Frozen, Group, Unit, ends_at};
pub use remove::{Removal, keep_parts, remove};
pub use slice::slice;
pub use slices::Slices;
pub use state::{State, removable, states};
