//! Pooling to a fixed output size, and its gradients. `x` is `[N, H, W, C]`, `y` is `[N, OH, OW, C]`.

use super::Float;
use super::windows::{argmax, taps};
use crate::shapes::AdaptivePool2d;

/// The offsets into `x` that the output at offset `y` reads.
fn window(g: &AdaptivePool2d, y: usize) -> Vec<usize> {
    let (n, oh, ow, c) = (y / (g.oh * g.ow * g.c), y / (g.ow * g.c) % g.oh, y / g.c % g.ow, y % g.c);
    let (rows, cols) = (AdaptivePool2d::window(oh, g.h, g.oh), AdaptivePool2d::window(ow, g.w, g.ow));
    taps([n, g.h, g.w, g.c], c, rows, cols).collect()
}

/// The mean of each window.
pub fn adaptive_avg_pool2d_forward<F: Float>(g: &AdaptivePool2d, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    for (i, y) in y.iter_mut().enumerate() {
        let window = window(g, i);
        *y = window.iter().map(|&tap| x[tap]).sum::<F>() / F::of(window.len() as f64);
    }
}

/// Spreads each gradient evenly over its window.
pub fn adaptive_avg_pool2d_input_grad<F: Float>(g: &AdaptivePool2d, dy: &[F], dx: &mut [F]) {
    assert_eq!((dy.len(), dx.len()), (g.y_len(), g.x_len()));
    dx.fill(F::ZERO);
    for (i, &dy) in dy.iter().enumerate() {
        let window = window(g, i);
        for &tap in &window {
            dx[tap] += dy / F::of(window.len() as f64);
        }
    }
}

/// The largest value of each window.
pub fn adaptive_max_pool2d_forward<F: Float>(g: &AdaptivePool2d, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    for (i, y) in y.iter_mut().enumerate() {
        *y = x[argmax(x, window(g, i).into_iter())];
    }
}

/// Passes each gradient to the pixel that was the largest; of equals, to the first in the window.
pub fn adaptive_max_pool2d_input_grad<F: Float>(g: &AdaptivePool2d, x: &[F], dy: &[F], dx: &mut [F]) {
    assert_eq!((x.len(), dy.len(), dx.len()), (g.x_len(), g.y_len(), g.x_len()));
    dx.fill(F::ZERO);
    for (i, &dy) in dy.iter().enumerate() {
        dx[argmax(x, window(g, i).into_iter())] += dy;
    }
}
