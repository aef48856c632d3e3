//! Operations: a launcher for each function of [`crate::cpu`], with the same shapes and types.
//!
//! Products choose their units in `grades`; every other operation has one kernel.

mod activation;
mod affine;
mod batch_norm;
mod channels;
mod columns;
mod conv2d;
mod elementwise;
mod epilogue;
mod gate;
mod gather;
pub(in crate::cuda) mod grades;
mod group_norm;
mod layer_norm;
mod linear;
mod loss;
mod optim;
mod packed;
mod pool;
mod prelu;
mod reduce;
mod resize;
mod softmax;
mod tensors;

pub(in crate::cuda) use activation::ClampArg;
pub use activation::{activation_forward, activation_input_grad};
pub use batch_norm::*;
pub use channels::*;
pub use conv2d::*;
pub use elementwise::*;
pub use epilogue::Epilogue;
pub(in crate::cuda) use epilogue::EpilogueArg;
pub use gate::*;
pub use gather::*;
pub use group_norm::*;
pub use layer_norm::*;
pub use linear::*;
pub use loss::*;
pub use optim::*;
pub use packed::*;
pub use pool::*;
pub use prelu::*;
pub use reduce::*;
pub use resize::*;
pub use softmax::*;
