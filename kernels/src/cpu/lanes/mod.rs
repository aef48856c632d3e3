//! Sparse convolution in *row lanes*: vectors hold neighboring pixels of one channel, and each filter is a list of its
//! nonzero weights.
//!
//! In channels-last images, a vector holds neighboring channels of one pixel, and a weight that is zero saves nothing
//! unless its whole vector is zero. With pixels in the lanes, a weight is a broadcast, and a zero weight is not listed:
//!
//! ```text
//!   for block of channels
//!     for filter (or two that share their positions)
//!       for nonzero weight         sums[0..8] += weight · x[0..8]      8 vectors of pixels
//! ```
//!
//! The time is proportional to the number of nonzero weights. Images are converted from and to channels-last within
//! each task ([`load`], [`finish`]), while they are in its L2 cache.
//!
//! Between two such convolutions of the same geometry, images may stay in lanes ([`images`], [`rows`]), and a residual
//! may have either layout ([`residual`]).
//!
//! A kernel's taps become rows, phases and shifts by one lane ([`taps`]); rows of images become lanes ([`shape`],
//! [`places`]); weights become lists ([`lists`], [`row_lanes`]); [`run`] is the loop nest around [`tile`], the inner kernel.
//! The gradient of the nonzero weights reads the same lists ([`weight_grad`], [`dots`]).

pub(in crate::cpu) mod depthwise;
mod dots;
mod estimate;
mod finish;
mod images;
mod lists;
mod load;
mod places;
mod residual;
mod row_lanes;
mod rows;
mod run;
mod shape;
mod taps;
mod tile;
mod weight_grad;

pub(in crate::cpu) use estimate::Estimate;
pub use images::{ImageLayout, ImageLayouts, LaneImages};
pub(in crate::cpu) use row_lanes::{RowLanes, Rows, refuses};
pub(in crate::cpu) use run::Product;
pub(in crate::cpu) use weight_grad::LaneWeightGrad;
