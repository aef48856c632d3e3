//! Maximum and average pooling over fixed or adaptive windows, and their gradients. `x` is `[N, H, W, C]`, `y` is
//! `[N, OH, OW, C]`.

use super::Float;
use crate::pool_windows::PoolWindows;
use crate::shapes::{AdaptivePool2d, Pool2d};

/// The largest value of each window, ignoring padding.
pub fn max_pool2d_forward<F: Float>(g: &Pool2d, x: &[F], y: &mut [F]) {
    max_forward(g, x, y);
}

/// Passes each gradient to the largest pixel of its window; ties go to the first.
pub fn max_pool2d_input_grad<F: Float>(g: &Pool2d, x: &[F], dy: &[F], dx: &mut [F]) {
    max_input_grad(g, x, dy, dx);
}

/// The mean of each window. With `count_include_pad`, padding counts as zeros.
pub fn avg_pool2d_forward<F: Float>(g: &Pool2d, x: &[F], y: &mut [F]) {
    avg_forward(g, x, y);
}

/// Spreads each gradient evenly over its window.
pub fn avg_pool2d_input_grad<F: Float>(g: &Pool2d, dy: &[F], dx: &mut [F]) {
    avg_input_grad(g, dy, dx);
}

/// The mean of each window.
pub fn adaptive_avg_pool2d_forward<F: Float>(g: &AdaptivePool2d, x: &[F], y: &mut [F]) {
    avg_forward(g, x, y);
}

/// Spreads each gradient evenly over its window.
pub fn adaptive_avg_pool2d_input_grad<F: Float>(g: &AdaptivePool2d, dy: &[F], dx: &mut [F]) {
    avg_input_grad(g, dy, dx);
}

/// The largest value of each window.
pub fn adaptive_max_pool2d_forward<F: Float>(g: &AdaptivePool2d, x: &[F], y: &mut [F]) {
    max_forward(g, x, y);
}

/// Passes each gradient to the largest pixel of its window; ties go to the first.
pub fn adaptive_max_pool2d_input_grad<F: Float>(g: &AdaptivePool2d, x: &[F], dy: &[F], dx: &mut [F]) {
    max_input_grad(g, x, dy, dx);
}

/// The offsets into `x` that the output at offset `y` reads, row by row, and the divisor of its average.
fn window(g: &impl PoolWindows, y: usize) -> (Vec<usize>, usize) {
    let ([_, h, w, channels], [_, height, width, _]) = (g.x_shape(), g.y_shape());
    let (pixel, c) = (y / channels, y % channels);
    let (n, i, j) = (pixel / (height * width), pixel / width % height, pixel % width);
    let pixels = g.rows(i).flat_map(|row| g.cols(j).map(move |col| (n * h + row) * w + col));
    (pixels.map(|pixel| pixel * channels + c).collect(), g.divisor(i, j))
}

/// The offset of the largest value that output `y` reads; ties go to the first, and a NaN beats all (PyTorch's rule).
fn argmax<F: Float>(g: &impl PoolWindows, x: &[F], y: usize) -> usize {
    let larger = |best: usize, tap: usize| if x[tap] > x[best] || x[tap].is_nan() { tap } else { best };
    window(g, y).0.into_iter().reduce(larger).expect("a window contains a pixel")
}

/// The largest value of each window.
fn max_forward<F: Float>(g: &impl PoolWindows, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    for (i, y) in y.iter_mut().enumerate() {
        *y = x[argmax(g, x, i)];
    }
}

/// Passes each gradient to the largest pixel of its window.
fn max_input_grad<F: Float>(g: &impl PoolWindows, x: &[F], dy: &[F], dx: &mut [F]) {
    assert_eq!((x.len(), dy.len(), dx.len()), (g.x_len(), g.y_len(), g.x_len()));
    dx.fill(F::ZERO);
    for (i, &dy) in dy.iter().enumerate() {
        dx[argmax(g, x, i)] += dy;
    }
}

/// The mean of each window.
fn avg_forward<F: Float>(g: &impl PoolWindows, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    for (i, y) in y.iter_mut().enumerate() {
        let (taps, divisor) = window(g, i);
        *y = taps.into_iter().map(|tap| x[tap]).sum::<F>() / F::of(divisor as f64);
    }
}

/// Spreads each gradient evenly over its window.
fn avg_input_grad<F: Float>(g: &impl PoolWindows, dy: &[F], dx: &mut [F]) {
    assert_eq!((dy.len(), dx.len()), (g.y_len(), g.x_len()));
    dx.fill(F::ZERO);
    for (i, &dy) in dy.iter().enumerate() {
        let (taps, divisor) = window(g, i);
        for tap in taps {
            dx[tap] += dy / F::of(divisor as f64);
        }
    }
}
