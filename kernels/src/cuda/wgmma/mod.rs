//! Convolutions and linear layers on Hopper's tensor cores, with bulk copies and wgmma: in 16-bit types, or in TF32
//! on f32 buffers (operands rounded to eleven significant bits).

mod forward;
mod input_grad;
mod problem;
mod tensor_map;
mod tiles;
mod weight_grad;

pub use forward::{applies, conv2d_forward};
pub use input_grad::{applies_to_input_grad, conv2d_input_grad};
pub use weight_grad::{applies_to_weight_grad, conv2d_weight_grad};
