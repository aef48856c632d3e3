//! The fully connected layer: `x` is `[N, IN]`, `w` is `[OUT, IN]`, `y` is `[N, OUT]`.

use super::{Float, gemm};
use crate::shapes::Linear;

/// `y = x·wᵀ + bias`.
pub fn linear_forward<F: Float>(g: &Linear, x: &[F], w: &[F], bias: Option<&[F]>, y: &mut [F]) {
    gemm(&g.forward(), x, w, false, y);
    if let Some(bias) = bias {
        assert_eq!(bias.len(), g.outputs);
        for row in y.chunks_exact_mut(g.outputs) {
            for (y, &b) in row.iter_mut().zip(bias) {
                *y += b;
            }
        }
    }
}

/// `dx = dy·w`.
pub fn linear_input_grad<F: Float>(g: &Linear, dy: &[F], w: &[F], dx: &mut [F]) {
    gemm(&g.input_grad(), dy, w, false, dx);
}

/// `dw = dyᵀ·x`. The bias gradient is [`super::sum_rows`] of `dy`.
pub fn linear_weight_grad<F: Float>(g: &Linear, x: &[F], dy: &[F], dw: &mut [F]) {
    gemm(&g.weight_grad(), dy, x, false, dw);
}
