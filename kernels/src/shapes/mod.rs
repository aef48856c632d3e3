//! The checked geometry of each operation: its input, its output, its cost.
//!
//! A geometry is a plain value with public fields. `check` rejects one that cannot be computed; all other functions
//! may assume that the geometry is valid.

mod batch_norm;
mod conv2d;
mod error;
mod gate;
mod group_norm;
mod layer_norm;
mod linear;
mod matmul;
mod pool;
mod resize;
mod shortcut;

pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub use error::ShapeError;
pub use gate::Gate;
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use matmul::{Matmul, Trans};
pub use pool::{AdaptivePool2d, Pool2d};
pub use resize::{Coordinates, Resize, ResizeMode, Rounding};
pub use shortcut::PadShortcut;
