//! Group normalization (Wu & He 2018) of images `x` `[N, P, C]`.

use super::Float;
use crate::shapes::GroupNorm;

/// `y = gamma·(x − mean)/√(var + eps) + beta`, with the statistics of each image and group.
pub fn group_norm_forward<F: Float>(g: &GroupNorm, x: &[F], [gamma, beta]: [&[F]; 2], y: &mut [F]) {
    assert_eq!((x.len(), y.len(), gamma.len(), beta.len()), (g.len(), g.len(), g.c, g.c));
    for image in 0..g.n {
        for group in 0..g.groups {
            let [mean, inv_std] = statistics(g, x, image, group);
            for i in elements(g, image, group) {
                y[i] = gamma[i % g.c] * (x[i] - mean) * inv_std + beta[i % g.c];
            }
        }
    }
}

/// The gradients of [`group_norm_forward`]:
///
/// `dbeta = Σ dy`, `dgamma = Σ dy·x̂` over images and pixels; with `g = dy·gamma` and M numbers in a group, `dx = (g − Σ g/M −
/// x̂·Σ g·x̂/M)/√(var + eps)` over the group.
pub fn group_norm_backward<F: Float>(
    g: &GroupNorm,
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
    let covered = F::of(g.covered() as f64);
    for image in 0..g.n {
        for group in 0..g.groups {
            let [mean, inv_std] = statistics(g, x, image, group);
            let (mut sum, mut slope) = (F::ZERO, F::ZERO);
            for i in elements(g, image, group) {
                let x_hat = (x[i] - mean) * inv_std;
                dgamma[i % g.c] += dy[i] * x_hat;
                dbeta[i % g.c] += dy[i];
                sum += dy[i] * gamma[i % g.c];
                slope += dy[i] * gamma[i % g.c] * x_hat;
            }
            for i in elements(g, image, group) {
                let x_hat = (x[i] - mean) * inv_std;
                dx[i] = (dy[i] * gamma[i % g.c] - sum / covered - x_hat * slope / covered) * inv_std;
            }
        }
    }
}

/// The mean of a group of an image, and 1/√(var + eps).
fn statistics<F: Float>(g: &GroupNorm, x: &[F], image: usize, group: usize) -> [F; 2] {
    let covered = F::of(g.covered() as f64);
    let mean = elements(g, image, group).map(|i| x[i]).sum::<F>() / covered;
    let var = elements(g, image, group).map(|i| (x[i] - mean) * (x[i] - mean)).sum::<F>() / covered;
    [mean, F::ONE / (var + F::of(g.eps.into())).sqrt()]
}

/// The positions of the numbers of a group of an image.
fn elements(g: &GroupNorm, image: usize, group: usize) -> impl Iterator<Item = usize> {
    let (pixels, c, depth) = (g.pixels, g.c, g.depth());
    (0..pixels)
        .flat_map(move |pixel| (0..depth).map(move |i| (image * pixels + pixel) * c + group * depth + i))
}
