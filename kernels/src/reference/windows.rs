//! Pooling over arbitrary windows: shared by fixed-step and adaptive pooling.

use super::Float;
use crate::windows::Windows;

/// The offsets into `x` that the output at offset `y` reads, row by row, and the divisor of its average.
fn window(g: &impl Windows, y: usize) -> (Vec<usize>, usize) {
    let ([_, h, w, channels], [_, height, width, _]) = (g.x_shape(), g.y_shape());
    let (pixel, c) = (y / channels, y % channels);
    let (n, i, j) = (pixel / (height * width), pixel / width % height, pixel % width);
    let pixels = g.rows(i).flat_map(|row| g.cols(j).map(move |col| (n * h + row) * w + col));
    (pixels.map(|pixel| pixel * channels + c).collect(), g.divisor(i, j))
}

/// The offset of the largest value that output `y` reads; ties go to the first, and a NaN beats all (PyTorch's rule).
fn argmax<F: Float>(g: &impl Windows, x: &[F], y: usize) -> usize {
    let larger = |best: usize, tap: usize| if x[tap] > x[best] || x[tap].is_nan() { tap } else { best };
    window(g, y).0.into_iter().reduce(larger).expect("a window contains a pixel")
}

/// The largest value of each window.
pub(super) fn max_forward<F: Float>(g: &impl Windows, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    for (i, y) in y.iter_mut().enumerate() {
        *y = x[argmax(g, x, i)];
    }
}

/// Passes each gradient to the largest pixel of its window.
pub(super) fn max_input_grad<F: Float>(g: &impl Windows, x: &[F], dy: &[F], dx: &mut [F]) {
    assert_eq!((x.len(), dy.len(), dx.len()), (g.x_len(), g.y_len(), g.x_len()));
    dx.fill(F::ZERO);
    for (i, &dy) in dy.iter().enumerate() {
        dx[argmax(g, x, i)] += dy;
    }
}

/// The mean of each window.
pub(super) fn avg_forward<F: Float>(g: &impl Windows, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    for (i, y) in y.iter_mut().enumerate() {
        let (taps, divisor) = window(g, i);
        *y = taps.into_iter().map(|tap| x[tap]).sum::<F>() / F::of(divisor as f64);
    }
}

/// Spreads each gradient evenly over its window.
pub(super) fn avg_input_grad<F: Float>(g: &impl Windows, dy: &[F], dx: &mut [F]) {
    assert_eq!((dy.len(), dx.len()), (g.y_len(), g.x_len()));
    dx.fill(F::ZERO);
    for (i, &dy) in dy.iter().enumerate() {
        let (taps, divisor) = window(g, i);
        for tap in taps {
            dx[tap] += dy / F::of(divisor as f64);
        }
    }
}
