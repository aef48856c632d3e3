//! Fully connected layers of inference, with packed weights.
//!
//! A dense weight is packed as that of a 1×1 convolution over the rows of the batch. With few rows, the time is that of
//! all threads reading the weight from memory once, so a weight with zeros is stored without them: as bits ([`bits`])
//! or as lists ([`lists`]), in the loop nest of [`rows`]. [`choice`] compares the estimated times.

mod bits;
mod choice;
mod footprint;
mod lists;
mod packed;
mod rows;

pub use choice::{LinearChoice, LinearLayout};
pub use packed::{PackedLinear, linear_forward_packed};
