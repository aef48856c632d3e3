//! Softmax and its logarithm over the last axis of `x` `[rows, k]`. The row's maximum is subtracted first, so nothing
//! overflows.

use super::Float;

/// `y = exp(x) / Σ_row exp(x)`.
pub fn softmax_forward<F: Float>(rows: usize, k: usize, x: &[F], y: &mut [F]) {
    log_softmax_forward(rows, k, x, y);
    for y in y {
        *y = y.exp();
    }
}

/// `y = x − ln Σ_row exp(x)`.
pub fn log_softmax_forward<F: Float>(rows: usize, k: usize, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (rows * k, rows * k));
    for (x, y) in x.chunks_exact(k).zip(y.chunks_exact_mut(k)) {
        let max = x.iter().fold(F::NEG_INFINITY, |max, &x| if x > max { x } else { max });
        let total = max + x.iter().map(|&x| (x - max).exp()).sum::<F>().ln();
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x - total;
        }
    }
}
