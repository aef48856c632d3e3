//! Batch normalization (Ioffe & Szegedy 2015) over the rows of `x` `[rows, C]`, with `rows = N·H·W` for images and
//! `N` for vectors: `x̂ = (x − mean)/√(var + eps)`, `y = gamma·x̂ + beta`, separately for each channel.

use super::Float;
use crate::shapes::BatchNorm;

/// Normalizes by the statistics of this batch and returns them: `mean`, and the biased variance `var`, `[C]`.
pub fn batch_norm_forward_train<F: Float>(
    g: &BatchNorm,
    x: &[F],
    affine: [&[F]; 2],
    y: &mut [F],
    [mean, var]: [&mut [F]; 2],
) {
    let BatchNorm { rows, c, .. } = *g;
    assert_eq!((x.len(), mean.len(), var.len()), (g.len(), c, c));
    let n = F::of(rows as f64);
    for ch in 0..c {
        mean[ch] = column(x, c, ch).sum::<F>() / n;
        var[ch] = column(x, c, ch).map(|x| (x - mean[ch]) * (x - mean[ch])).sum::<F>() / n;
    }
    batch_norm_forward_eval(g, x, [mean, var], affine, y);
}

/// Normalizes by the given statistics.
pub fn batch_norm_forward_eval<F: Float>(
    g: &BatchNorm,
    x: &[F],
    [mean, var]: [&[F]; 2],
    [gamma, beta]: [&[F]; 2],
    y: &mut [F],
) {
    let (c, eps) = (g.c, F::of(g.eps.into()));
    assert_eq!((x.len(), y.len(), gamma.len(), beta.len()), (g.len(), g.len(), c, c));
    for (i, y) in y.iter_mut().enumerate() {
        let ch = i % c;
        *y = gamma[ch] * (x[i] - mean[ch]) / (var[ch] + eps).sqrt() + beta[ch];
    }
}

/// The gradients of [`batch_norm_forward_train`], whose mean and variance depend on `x`:
///
/// `dbeta = Σ dy`, `dgamma = Σ dy·x̂`, `dx = gamma/√(var + eps) · (dy − dbeta/rows − x̂·dgamma/rows)`.
pub fn batch_norm_backward<F: Float>(
    g: &BatchNorm,
    x: &[F],
    [mean, var]: [&[F]; 2],
    gamma: &[F],
    dy: &[F],
    dx: &mut [F],
    [dgamma, dbeta]: [&mut [F]; 2],
) {
    batch_norm_eval_backward(g, x, [mean, var], gamma, dy, dx, [dgamma, dbeta]);
    let (c, n, eps) = (g.c, F::of(g.rows as f64), F::of(g.eps.into()));
    for (i, dx) in dx.iter_mut().enumerate() {
        let ch = i % c;
        let inv_std = F::ONE / (var[ch] + eps).sqrt();
        let x_hat = (x[i] - mean[ch]) * inv_std;
        *dx = gamma[ch] * inv_std * (dy[i] - dbeta[ch] / n - x_hat * dgamma[ch] / n);
    }
}

/// The gradients of [`batch_norm_forward_eval`], whose statistics are constants: `dx = dy·gamma/√(var + eps)`.
pub fn batch_norm_eval_backward<F: Float>(
    g: &BatchNorm,
    x: &[F],
    [mean, var]: [&[F]; 2],
    gamma: &[F],
    dy: &[F],
    dx: &mut [F],
    [dgamma, dbeta]: [&mut [F]; 2],
) {
    let (c, eps) = (g.c, F::of(g.eps.into()));
    assert_eq!([x.len(), dy.len(), dx.len()], [g.len(); 3]);
    assert_eq!((mean.len(), var.len(), gamma.len(), dgamma.len(), dbeta.len()), (c, c, c, c, c));
    dgamma.fill(F::ZERO);
    dbeta.fill(F::ZERO);
    for (i, &dy) in dy.iter().enumerate() {
        let ch = i % c;
        let inv_std = F::ONE / (var[ch] + eps).sqrt();
        dx[i] = dy * gamma[ch] * inv_std;
        dgamma[ch] += dy * (x[i] - mean[ch]) * inv_std;
        dbeta[ch] += dy;
    }
}

/// Channel `ch` of `x` `[rows, c]`.
fn column<F: Float>(x: &[F], c: usize, ch: usize) -> impl Iterator<Item = F> {
    x.iter().skip(ch).step_by(c).copied()
}
