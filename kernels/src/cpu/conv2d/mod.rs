//! Convolution of channels-last images as an implicit matrix product.
//!
//! `y[p, o] = Σ_{tap, c} x[p @ tap, c] · w[o, tap, c]`: rows are output pixels, columns are filters, and the reduction
//! runs over taps and channels. No im2col matrix is built. The tile kernel reads the image in place, through one
//! pointer per pixel and tap ([`windows`]), and multiplies it by weights that are packed once ([`PackedConv2d`]).
//!
//! Dense, masked and compact convolution differ only in which filters are packed, which channels are gathered and where
//! results are stored ([`packed`]). The input gradient is a convolution of `dy` ([`input_grad`]), and the weight
//! gradient is a product that reduces over pixels ([`weight_grad`]).

mod algorithm;
mod bands;
mod choice;
mod dense_time;
pub(in crate::cpu) mod depthwise;
mod depthwise_rows;
mod epilogue;
mod estimate;
mod footprint;
mod gather;
mod image_rows;
mod image_times;
mod implicit_gemm;
mod input_grad;
mod lane_estimates;
mod layout;
mod masked;
mod masked_lanes;
mod masked_time;
mod packed;
mod padded;
mod partial_sums;
mod product;
mod scatter;
mod weight_grad;
mod widen;
mod windows;
mod winograd;

pub use algorithm::{Algorithm, Packing, Weights};
pub use bands::{conv2d_compact_rows_at_a_time, conv2d_forward_rows, conv2d_rows_at_a_time};
pub use choice::Choice;
pub use dense_time::DenseTime;
pub use epilogue::Epilogue;
pub use footprint::Footprint;
pub(in crate::cpu) use image_rows::ImageRows;
pub use image_times::{ImageTimes, far_shares};
pub use input_grad::conv2d_input_grad;
pub use lane_estimates::LaneEstimates;
pub(in crate::cpu) use masked::{clear_dead, leaves_out};
pub use masked::{conv2d_masked_forward, conv2d_masked_input_grad, conv2d_masked_weight_grad};
pub use masked_time::MaskedTime;
pub use packed::{
    PackedConv2d, conv2d_forward, conv2d_forward_between, conv2d_forward_packed, conv2d_lane_images,
    conv2d_lanes_after, conv2d_lanes_extra,
};
pub use weight_grad::conv2d_weight_grad;

pub(super) use partial_sums::sum_chunks;
pub(super) use windows::{Windows, tap_offsets};
