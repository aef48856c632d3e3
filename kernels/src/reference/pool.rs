//! Maximum and average pooling, and their gradients. `x` is `[N, H, W, C]`, `y` is `[N, OH, OW, C]`.

use super::{Float, windows};
use crate::shapes::Pool2d;

/// The largest value of each window, ignoring padding.
pub fn max_pool2d_forward<F: Float>(g: &Pool2d, x: &[F], y: &mut [F]) {
    windows::max_forward(g, x, y);
}

/// Passes each gradient to the largest pixel of its window; ties go to the first.
pub fn max_pool2d_input_grad<F: Float>(g: &Pool2d, x: &[F], dy: &[F], dx: &mut [F]) {
    windows::max_input_grad(g, x, dy, dx);
}

/// The mean of each window. With `count_include_pad`, padding counts as zeros.
pub fn avg_pool2d_forward<F: Float>(g: &Pool2d, x: &[F], y: &mut [F]) {
    windows::avg_forward(g, x, y);
}

/// Spreads each gradient evenly over its window.
pub fn avg_pool2d_input_grad<F: Float>(g: &Pool2d, dy: &[F], dx: &mut [F]) {
    windows::avg_input_grad(g, dy, dx);
}
