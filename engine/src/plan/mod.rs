//! The inference plan: a graph prepared to run on images of one shape.
//!
//! ```text
//!   graph ─ live ─► graph ─ lower ─► operations ─ pack ─► kernels ─ arena ─► calls with fixed places
//!           leave out       fuse ReLU and      choose each     lay out every value
//!           dead channels   residual sums      kernel, pack    in one block
//!                                              its weights
//! ```
//!
//! Values hold live channels only: what masks kill is removed as pruning does it ([`crate::channels`]), so that a network
//! with masked filters runs like the pruned one.
//!
//! Training runs the graph itself ([`Graph::forward`](crate::Graph::forward)). Every reported latency is that of a
//! plan, which does no work at run time that can be done in advance, and allocates nothing. On a GPU, packing means
//! uploading, and the calls are recorded as one CUDA graph.

mod amount;
mod arena;
mod budget;
mod chains;
mod chosen;
mod cpu;
mod cuda;
mod decide;
mod lane_images;
mod layouts;
mod lower;
mod masked_outline;
mod outline;
mod places;
mod plan;
mod spans;
mod step;
mod work;

pub use amount::{Amount, Class};
pub use masked_outline::Masked;
pub use outline::Outline;
pub(crate) use plan::check_finite;
pub use plan::{Plan, PlanMemory, PlanOptions};
pub use spans::Parts;
pub use step::{LiveChannels, Step};
