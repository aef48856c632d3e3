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

/// The gradient of [`softmax_forward`], whose output is `y`: `dx = y · (dy − Σ_row dy·y)`.
pub fn softmax_input_grad<F: Float>([rows, k]: [usize; 2], y: &[F], dy: &[F], dx: &mut [F]) {
    assert_eq!([y.len(), dy.len(), dx.len()], [rows * k; 3]);
    for ((y, dy), dx) in y.chunks_exact(k).zip(dy.chunks_exact(k)).zip(dx.chunks_exact_mut(k)) {
        let dot = y.iter().zip(dy).map(|(&y, &dy)| y * dy).sum::<F>();
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = y * (dy - dot);
        }
    }
}

/// The gradient of [`log_softmax_forward`], whose output is `y`: `dx = dy − exp(y) · Σ_row dy`.
pub fn log_softmax_input_grad<F: Float>([rows, k]: [usize; 2], y: &[F], dy: &[F], dx: &mut [F]) {
    assert_eq!([y.len(), dy.len(), dx.len()], [rows * k; 3]);
    for ((y, dy), dx) in y.chunks_exact(k).zip(dy.chunks_exact(k)).zip(dx.chunks_exact_mut(k)) {
        let total = dy.iter().copied().sum::<F>();
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = dy - y.exp() * total;
        }
    }
}
