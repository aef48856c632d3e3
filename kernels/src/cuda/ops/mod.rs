//! Operations: a launcher for each function of [`crate::cpu`], with the same shapes and types.
//!
//! Products choose their units in `grades`; every other operation has one kernel.

mod activation;
mod batch_norm;
mod channels;
mod columns;
mod conv2d;
mod elementwise;
mod epilogue;
pub(in crate::cuda) mod grades;
mod linear;
mod loss;
mod optim;
mod packed;
mod pool;
mod reduce;
mod tensors;

pub(in crate::cuda) use activation::ClampArg;
pub use activation::{activation_forward, activation_input_grad};
pub use batch_norm::*;
pub use channels::*;
pub use conv2d::*;
pub use elementwise::*;
pub use epilogue::Epilogue;
pub(in crate::cuda) use epilogue::EpilogueArg;
pub use linear::*;
pub use loss::*;
pub use optim::*;
pub use packed::*;
pub use pool::*;
pub use reduce::*;
