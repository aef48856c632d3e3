//! f32 products on the ordinary units, in single precision: matrix products, and convolutions over channels-last
//! images as implicit matrix products (`gemm_f32.cu`, `conv2d_f32.cu`).
//!
//! Each of a convolution's three products reads patches of an image in place. They differ in their `Patches`: of `x`
//! at the output pixels, or of `dy` at the input pixels of one remainder modulo the stride.

mod compact;
mod depthwise;
mod forward;
mod gemm;
mod input_grad;
mod masked;
mod patches;
mod selected;
mod tiles;
mod weight_grad;

pub use compact::{Compact, conv2d_compact_forward};
pub use forward::conv2d_forward;
pub use gemm::{FEW_ROWS, gemm, linear_forward};
pub use input_grad::conv2d_input_grad;
pub use masked::{LiveLists, conv2d_masked_forward};
pub use weight_grad::conv2d_weight_grad;

/// The number of input channels that a mask skips together: the steps that a tile of the reduction holds.
pub const BLOCK: usize = tiles::STEP;
