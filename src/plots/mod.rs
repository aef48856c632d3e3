//! Pictures, as SVG: curves and the confusion matrix.

mod curves;
mod matrix;

pub use curves::{Curve, Curves};
pub use matrix::matrix;
