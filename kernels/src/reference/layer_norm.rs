//! Layer normalization (Ba, Kiros & Hinton 2016) of each row of `x` `[rows, C]`; see [`LayerNorm`] for statistics that cover
//! more channels than a row has.

use super::Float;
use crate::shapes::LayerNorm;

/// `y = gamma·(x − mean)/√(var + eps) + beta`.
pub fn layer_norm_forward<F: Float>(g: &LayerNorm, x: &[F], [gamma, beta]: [&[F]; 2], y: &mut [F]) {
    assert_eq!((x.len(), y.len(), gamma.len(), beta.len()), (g.len(), g.len(), g.c, g.c));
    for (x, y) in x.chunks_exact(g.c).zip(y.chunks_exact_mut(g.c)) {
        let [mean, inv_std] = statistics(g, x);
        for (i, y) in y.iter_mut().enumerate() {
            *y = gamma[i] * (x[i] - mean) * inv_std + beta[i];
        }
    }
}

/// The gradients of [`layer_norm_forward`]:
///
/// `dbeta = Σ dy`, `dgamma = Σ dy·x̂` over the rows; with `g = dy·gamma`, `dx = (g − Σ g/width − x̂·Σ g·x̂/width)/√(var +
/// eps)` over the channels.
pub fn layer_norm_backward<F: Float>(
    g: &LayerNorm,
    x: &[F],
    gamma: &[F],
    dy: &[F],
    dx: &mut [F],
    [dgamma, dbeta]: [&mut [F]; 2],
) {
    assert_eq!([x.len(), dy.len(), dx.len()], [g.len(); 3]);
    assert_eq!([gamma.len(), dgamma.len(), dbeta.len()], [g.c; 3]);
    dgamma.fill(F::ZERO);
    dbeta.fill(F::ZERO);
    let width = F::of(g.width as f64);
    for ((x, dy), dx) in x.chunks_exact(g.c).zip(dy.chunks_exact(g.c)).zip(dx.chunks_exact_mut(g.c)) {
        let [mean, inv_std] = statistics(g, x);
        let (mut sum, mut slope) = (F::ZERO, F::ZERO);
        for i in 0..g.c {
            let x_hat = (x[i] - mean) * inv_std;
            dgamma[i] += dy[i] * x_hat;
            dbeta[i] += dy[i];
            sum += dy[i] * gamma[i];
            slope += dy[i] * gamma[i] * x_hat;
        }
        for i in 0..g.c {
            let x_hat = (x[i] - mean) * inv_std;
            dx[i] = (dy[i] * gamma[i] - sum / width - x_hat * slope / width) * inv_std;
        }
    }
}

/// The mean of a row, and 1/√(var + eps).
fn statistics<F: Float>(g: &LayerNorm, x: &[F]) -> [F; 2] {
    let width = F::of(g.width as f64);
    let mean = (x.iter().copied().sum::<F>() + F::of(g.sum)) / width;
    let removed = F::of((g.width - g.c) as f64);
    let constants = F::of(g.squares) + mean * (removed * mean - F::of(2.0 * g.sum));
    let spread = x.iter().map(|&x| (x - mean) * (x - mean)).sum::<F>() + constants;
    [mean, F::ONE / (spread / width + F::of(g.eps.into())).sqrt()]
}
