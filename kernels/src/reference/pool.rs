//! Maximum and average pooling, and their gradients. `x` is `[N, H, W, C]`, `y` is `[N, OH, OW, C]`.

use super::Float;
use super::windows::{argmax, taps};
use crate::shapes::Pool2d;

/// The offsets into `x` that the output at offset `y` reads, and what its average divides by.
fn window(g: &Pool2d, y: usize) -> (Vec<usize>, usize) {
    let [_, height, width, channels] = g.y_shape();
    let (n, oh, ow, c) = (
        y / (height * width * channels),
        y / (width * channels) % height,
        y / channels % width,
        y % channels,
    );
    (taps([n, g.h, g.w, g.c], c, g.rows(oh), g.cols(ow)).collect(), g.divisor(oh, ow))
}

/// The largest value of each window; padding is never it.
pub fn max_pool2d_forward<F: Float>(g: &Pool2d, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    for (i, y) in y.iter_mut().enumerate() {
        *y = x[argmax(x, window(g, i).0.into_iter())];
    }
}

/// Passes each gradient to the pixel that was the largest; of equals, to the first in the window.
pub fn max_pool2d_input_grad<F: Float>(g: &Pool2d, x: &[F], dy: &[F], dx: &mut [F]) {
    assert_eq!((x.len(), dy.len(), dx.len()), (g.x_len(), g.y_len(), g.x_len()));
    dx.fill(F::ZERO);
    for (i, &dy) in dy.iter().enumerate() {
        dx[argmax(x, window(g, i).0.into_iter())] += dy;
    }
}

/// The mean of each window, by [`Pool2d::divisor`].
pub fn avg_pool2d_forward<F: Float>(g: &Pool2d, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    for (i, y) in y.iter_mut().enumerate() {
        let (window, divisor) = window(g, i);
        *y = window.iter().map(|&tap| x[tap]).sum::<F>() / F::of(divisor as f64);
    }
}

/// Spreads each gradient evenly over its window.
pub fn avg_pool2d_input_grad<F: Float>(g: &Pool2d, dy: &[F], dx: &mut [F]) {
    assert_eq!((dy.len(), dx.len()), (g.y_len(), g.x_len()));
    dx.fill(F::ZERO);
    for (i, &dy) in dy.iter().enumerate() {
        let (window, divisor) = window(g, i);
        for tap in window {
            dx[tap] += dy / F::of(divisor as f64);
        }
    }
}
