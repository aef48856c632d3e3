//! Products on tensor cores with `mma.sync`: convolutions and matrix products in bf16, f16, and f32 through tf32.
//!
//! The operand type decides the arithmetic: two-byte elements are multiplied exactly and summed in f32; f32 elements
//! are first rounded to tf32 (ten mantissa bits, like f16, with the range of f32). Results are rounded once.

mod divide;
mod forward;
mod gemm;
mod input_grad;
mod masked;
mod output;
mod slices;
mod tiles;
mod weight_grad;
mod windows_arg;

pub use forward::{conv2d_forward, conv2d_forward_blocked, shares_tiles};
pub use gemm::gemm;
pub use input_grad::conv2d_input_grad;
pub use masked::{LiveLists, conv2d_masked_forward};
pub use tiles::{Blocking, Tile};
pub use weight_grad::conv2d_weight_grad;
