//! Pooling to a fixed output size, and its gradients. `x` is `[N, H, W, C]`, `y` is `[N, OH, OW, C]`.

use super::{Float, windows};
use crate::shapes::AdaptivePool2d;

/// The mean of each window.
pub fn adaptive_avg_pool2d_forward<F: Float>(g: &AdaptivePool2d, x: &[F], y: &mut [F]) {
    windows::avg_forward(g, x, y);
}

/// Spreads each gradient evenly over its window.
pub fn adaptive_avg_pool2d_input_grad<F: Float>(g: &AdaptivePool2d, dy: &[F], dx: &mut [F]) {
    windows::avg_input_grad(g, dy, dx);
}

/// The largest value of each window.
pub fn adaptive_max_pool2d_forward<F: Float>(g: &AdaptivePool2d, x: &[F], y: &mut [F]) {
    windows::max_forward(g, x, y);
}

/// Passes each gradient to the largest pixel of its window; ties go to the first.
pub fn adaptive_max_pool2d_input_grad<F: Float>(g: &AdaptivePool2d, x: &[F], dy: &[F], dx: &mut [F]) {
    windows::max_input_grad(g, x, dy, dx);
}
