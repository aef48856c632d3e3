//! Convolution and linear layers on Hopper's tensor cores: bulk copies and wgmma, of 16-bit numbers or, of f32 buffers,
//! in TF32 (operands rounded to eleven bits of mantissa).

mod forward;
mod input_grad;
mod problem;
mod tensor_map;
mod tiles;
mod weight_grad;

pub use forward::{applies, conv2d_forward};
pub use input_grad::{applies_to_input_grad, conv2d_input_grad};
pub use weight_grad::{applies_to_weight_grad, conv2d_weight_grad};
