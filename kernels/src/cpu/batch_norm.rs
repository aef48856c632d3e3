//! Batch normalization (Ioffe & Szegedy 2015) over the rows of `x` `[rows, C]`, with `rows = N·H·W` for images and
//! `N` for vectors: `x̂ = (x − mean)/√(var + eps)`, `y = gamma·x̂ + beta`, each channel by itself.
//!
//! Memory bounds all of it, so the aim is to read as seldom as possible: statistics take one pass, normalizing
//! another; the backward pass likewise. One-pass variance in `f32` is safe here because each chunk of rows subtracts
//! its own first row: the squares are then of the size of the spread, not of the mean, and even if that row is an
//! outlier the relative error stays below `ε ·` rows of a chunk. Chunks are combined in `f64`, by the formula of Chan,
//! Golub & LeVeque (1983).

use super::Cpu;
use super::columns::{Shift, column_sums, map_channels};

/// Normalizes by the statistics of this batch, which it also returns: `mean`, and the biased variance `var`, `[C]`.
pub fn batch_norm_forward_train(
    cpu: &Cpu,
    rows: usize,
    c: usize,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    y: &mut [f32],
    mean: &mut [f32],
    var: &mut [f32],
) {
    assert_eq!((x.len(), mean.len(), var.len()), (rows * c, c, c));
    statistics(cpu, rows, x, mean, var);
    batch_norm_forward_eval(cpu, rows, c, x, mean, var, gamma, beta, eps, y);
}

/// Mean and biased variance of each channel.
fn statistics(cpu: &Cpu, rows: usize, x: &[f32], mean: &mut [f32], var: &mut [f32]) {
    let c = mean.len();
    let parts = column_sums(cpu, c, Shift::FirstTile, [x], |first, [x]| {
        let d = x - first;
        [d, d * d]
    });
    let mut center = vec![0.0; c];
    parts.for_each(|part| {
        center[part.channel] += part.count as f64 * f64::from(x[part.first]) + part.sums[0];
    });
    center.iter_mut().for_each(|center| *center /= rows as f64);
    // Σ(x − mean)² of a part is its spread about its own mean, and count times the squared way from there to the mean.
    let mut squares = vec![0.0; c];
    parts.for_each(|part| {
        let [d, dd] = part.sums;
        let (n, offset) = (part.count as f64, d / part.count as f64);
        let away = f64::from(x[part.first]) + offset - center[part.channel];
        squares[part.channel] += (dd - d * offset).max(0.0) + n * away * away;
    });
    for ch in 0..c {
        mean[ch] = center[ch] as f32;
        var[ch] = (squares[ch] / rows as f64) as f32;
    }
}

/// Normalizes by statistics that are given. The mean is subtracted first, so that a large one does not cancel.
pub fn batch_norm_forward_eval(
    cpu: &Cpu,
    rows: usize,
    c: usize,
    x: &[f32],
    mean: &[f32],
    var: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    y: &mut [f32],
) {
    assert_eq!((x.len(), y.len(), mean.len(), beta.len()), (rows * c, rows * c, c, c));
    let factor = factors(var, gamma, eps);
    map_channels(cpu, c, [mean, &factor, beta], [x], y, |[mean, factor, beta], [x]| {
        (x - mean) * factor + beta
    });
}

/// The gradients of [`batch_norm_forward_train`], where mean and variance depend on `x`:
///
/// `dbeta = Σ dy`, `dgamma = Σ dy·x̂`, `dx = gamma/√(var + eps) · (dy − dbeta/rows − x̂·dgamma/rows)`.
pub fn batch_norm_backward(
    cpu: &Cpu,
    rows: usize,
    c: usize,
    x: &[f32],
    mean: &[f32],
    var: &[f32],
    gamma: &[f32],
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    parameter_grads(cpu, rows, x, mean, var, eps, dy, dgamma, dbeta);
    assert_eq!((dx.len(), gamma.len()), (rows * c, c));
    let factor = factors(var, gamma, eps);
    let n = rows as f64;
    let shift: Vec<f32> = dbeta.iter().map(|&dbeta| (f64::from(dbeta) / n) as f32).collect();
    // x̂·dgamma/rows = (x − mean)·slope
    let slope: Vec<f32> = dgamma
        .iter()
        .zip(var)
        .map(|(&dgamma, &var)| (f64::from(dgamma) * inv_std(var, eps) / n) as f32)
        .collect();
    map_channels(
        cpu,
        c,
        [mean, &factor, &shift, &slope],
        [x, dy],
        dx,
        |[mean, factor, shift, slope], [x, dy]| factor * (dy - shift - (x - mean) * slope),
    );
}

/// The gradients of [`batch_norm_forward_eval`], where the statistics are constants: `dx = dy·gamma/√(var + eps)`.
pub fn batch_norm_eval_backward(
    cpu: &Cpu,
    rows: usize,
    c: usize,
    x: &[f32],
    mean: &[f32],
    var: &[f32],
    gamma: &[f32],
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    parameter_grads(cpu, rows, x, mean, var, eps, dy, dgamma, dbeta);
    assert_eq!((dx.len(), gamma.len()), (rows * c, c));
    let factor = factors(var, gamma, eps);
    map_channels(cpu, c, [&factor], [dy], dx, |[factor], [dy]| factor * dy);
}

/// `dbeta = Σ dy` and `dgamma = Σ dy·x̂`.
fn parameter_grads(
    cpu: &Cpu,
    rows: usize,
    x: &[f32],
    mean: &[f32],
    var: &[f32],
    eps: f32,
    dy: &[f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let c = mean.len();
    assert_eq!((x.len(), dy.len()), (rows * c, rows * c));
    assert_eq!((var.len(), dgamma.len(), dbeta.len()), (c, c, c));
    let sums =
        column_sums(cpu, c, Shift::Channels(mean), [x, dy], |mean, [x, dy]| [dy, dy * (x - mean)]).totals();
    for (ch, [dy, dy_x]) in sums.into_iter().enumerate() {
        dbeta[ch] = dy as f32;
        dgamma[ch] = (dy_x * inv_std(var[ch], eps)) as f32;
    }
}

/// `1/√(var + eps)`.
fn inv_std(var: f32, eps: f32) -> f64 {
    (f64::from(var) + f64::from(eps)).sqrt().recip()
}

/// `gamma/√(var + eps)`.
fn factors(var: &[f32], gamma: &[f32], eps: f32) -> Vec<f32> {
    assert_eq!(var.len(), gamma.len());
    var.iter().zip(gamma).map(|(&var, &gamma)| (f64::from(gamma) * inv_std(var, eps)) as f32).collect()
}
