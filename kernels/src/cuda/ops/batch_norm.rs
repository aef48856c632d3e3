//! Batch normalization (Ioffe & Szegedy 2015) over the rows of `x` `[rows, C]`: `x̂ = (x − mean)/√(var + eps)`,
//! `y = activation(gamma·x̂ + beta + residual)`, separately for each channel. Images `x`, `y` and their gradients
//! share one floating-point type; all `[C]` buffers are F32.

use super::activation::ActivationArg;
use super::columns::{self, Columns};
use super::{ClampArg, Epilogue};
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::Arg;
use crate::cuda::driver::source::BATCH_NORM;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::{Activation, Dtype, Normalized, Statistics};
use crate::shapes::BatchNorm;

/// Rows that a thread sums.
const SUM_STEPS: usize = 16;

/// Rows that a thread maps: enough to amortize loading the channel parameters.
const MAP_STEPS: usize = 8;

/// Normalizes by the statistics of this batch and returns them: `mean`, and the biased variance `var`, `[C]`. Scales
/// and shifts by `affine`, which is `gamma` and `beta`, and ends with `epilogue`, which has no bias.
pub fn batch_norm_forward_train(
    cuda: &Cuda,
    g: &BatchNorm,
    x: &DeviceBuffer,
    affine: [&DeviceBuffer; 2],
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
    [mean, var]: [&mut DeviceBuffer; 2],
) -> Result<()> {
    statistics(cuda, g.rows, g.c, x, mean, var)?;
    batch_norm_forward_eval(cuda, g, x, [mean, var], affine, epilogue, y)
}

/// Computes the mean and biased variance of each channel.
fn statistics(
    cuda: &Cuda,
    rows: usize,
    c: usize,
    x: &DeviceBuffer,
    mean: &mut DeviceBuffer,
    var: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = images(rows, c, &[x]);
    channels(c, &[mean, var]);
    let g = [Columns::new(rows, c, dtype, SUM_STEPS)];
    let mut partials = g[0].partials(cuda, 2)?;
    let (fold, across) = columns::fold(c);
    let kind = Arg::Int(dtype as i32);
    let parts = Arg::from(g[0].parts() as u64);
    let args = [kind, (&g).into(), x.into(), (&mut partials).into()];
    // SAFETY: `x` is `[rows, c]` (asserted), and `partials` has two sums per part and channel of the geometry.
    unsafe { cuda.launch(&BATCH_NORM, "batch_norm_statistics_partials", g[0].grid(dtype, 2), &args) }?;
    let args =
        [kind, (&g).into(), parts, across.into(), x.into(), (&partials).into(), mean.into(), var.into()];
    // SAFETY: as above; `mean` and `var` are `[c]` (asserted), and threads beyond `c` write nothing.
    unsafe { cuda.launch(&BATCH_NORM, "batch_norm_statistics_finish", fold, &args) }
}

/// Normalizes by the given mean and variance; the rest is as in [`batch_norm_forward_train`].
pub fn batch_norm_forward_eval(
    cuda: &Cuda,
    g: &BatchNorm,
    x: &DeviceBuffer,
    [mean, var]: [&DeviceBuffer; 2],
    [gamma, beta]: [&DeviceBuffer; 2],
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let (BatchNorm { rows, c, eps }, Epilogue { bias, residual, activation }) = (*g, *epilogue);
    assert!(bias.is_none(), "the bias of a batch norm is beta");
    let dtype = images(rows, c, &[x, y, residual.unwrap_or(x)]);
    channels(c, &[mean, var, gamma, beta]);
    let (g, activation) = ([Columns::new(rows, c, dtype, MAP_STEPS)], [ActivationArg::from(activation)]);
    let args = [
        Arg::Int(dtype as i32),
        (&g).into(),
        x.into(),
        mean.into(),
        var.into(),
        gamma.into(),
        beta.into(),
        eps.into(),
        residual.into(),
        (&activation).into(),
        y.into(),
    ];
    // SAFETY: images are `[rows, c]` and parameters `[c]` (asserted); the geometry covers each element once.
    unsafe { cuda.launch(&BATCH_NORM, "batch_norm_apply", g[0].grid(dtype, 0), &args) }
}

/// Computes the gradients of [`batch_norm_forward_train`] or [`batch_norm_forward_eval`]. With `dz`, the gradient
/// before the activation, which follows from `dy` and the output `y`:
///
/// `dbeta = Σ dz`, `dgamma = Σ dz·x̂`, `dx = gamma/√(var + eps) · (dz − dbeta/rows − x̂·dgamma/rows)`; the last two
/// terms apply only to batch statistics.
///
/// `dy` becomes `dx`. With a residual, `dy` instead becomes `dz`, the gradient of the residual, and `dx` is written
/// to `residual_dx`. `y` is required with an activation and ignored without one.
///
/// # Panics
/// Panics if the activation is not a clamp.
pub fn batch_norm_backward(
    cuda: &Cuda,
    g: &BatchNorm,
    forward: &Normalized<&DeviceBuffer>,
    dy: &mut DeviceBuffer,
    residual_dx: Option<&mut DeviceBuffer>,
    [dgamma, dbeta]: [&mut DeviceBuffer; 2],
) -> Result<()> {
    let BatchNorm { rows, c, eps } = *g;
    let Normalized { statistics, x, mean, var, gamma, activation, y } = *forward;
    assert!(activation.bounds().is_some(), "only a clamp is fused with the backward pass");
    let y = y.filter(|_| activation != Activation::None);
    assert_eq!(y.is_some(), activation != Activation::None, "an activation needs its output");
    let residual_dx = residual_dx.as_deref();
    let dtype = images(rows, c, &[x, dy, y.unwrap_or(x), residual_dx.unwrap_or(x)]);
    channels(c, &[mean, var, gamma, dgamma, dbeta]);
    let activation = [ClampArg::from(activation)];
    let kind = Arg::Int(dtype as i32);

    let g = [Columns::new(rows, c, dtype, SUM_STEPS)];
    let mut partials = g[0].partials(cuda, 2)?;
    let (dy_in, activation_in) = (Arg::from(&*dy), Arg::from(&activation));
    let args =
        [kind, (&g).into(), x.into(), mean.into(), y.into(), dy_in, activation_in, (&mut partials).into()];
    // SAFETY: images are `[rows, c]` (asserted), and `partials` has two sums per part and channel.
    unsafe { cuda.launch(&BATCH_NORM, "batch_norm_backward_partials", g[0].grid(dtype, 2), &args) }?;

    let (fold, across) = columns::fold(c);
    let (parts, sums) = (Arg::from(g[0].parts() as u64), Arg::from(&partials));
    let (dgamma, dbeta) = (Arg::from(dgamma), Arg::from(dbeta));
    let args = [(&g).into(), parts, across.into(), sums, var.into(), eps.into(), dgamma, dbeta];
    // SAFETY: as above; the other buffers are `[c]` (asserted), and threads beyond `c` write nothing.
    unsafe { cuda.launch(&BATCH_NORM, "batch_norm_backward_finish", fold, &args) }?;

    let g = [Columns::new(rows, c, dtype, MAP_STEPS)];
    let inv_rows = if statistics == Statistics::Batch { (1.0 / rows as f64) as f32 } else { 0.0 };
    let args = [
        kind,
        (&g).into(),
        x.into(),
        mean.into(),
        var.into(),
        gamma.into(),
        eps.into(),
        y.into(),
        (&activation).into(),
        dgamma,
        dbeta,
        inv_rows.into(),
        dy.into(),
        residual_dx.into(),
    ];
    // SAFETY: as above; the geometry covers each element once, and a thread reads its element before it overwrites
    // it.
    unsafe { cuda.launch(&BATCH_NORM, "batch_norm_backward_apply", g[0].grid(dtype, 0), &args) }
}

/// Asserts that all are `[rows, c]` of one floating-point type, and returns the type.
fn images(rows: usize, c: usize, buffers: &[&DeviceBuffer]) -> Dtype {
    let dtype = buffers[0].dtype();
    assert_ne!(dtype, Dtype::U32, "floating point");
    assert!(
        buffers.iter().all(|x| (x.dtype(), x.len()) == (dtype, rows * c)),
        "all are [rows, c] of one type"
    );
    dtype
}

/// Asserts that all are F32 `[c]`.
fn channels(c: usize, buffers: &[&DeviceBuffer]) {
    assert!(buffers.iter().all(|x| (x.dtype(), x.len()) == (Dtype::F32, c)), "all are F32 [c]");
}
