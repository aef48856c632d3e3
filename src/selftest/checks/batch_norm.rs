//! Batch norm with its fused tail, in both directions. Each pass takes the CPU's results of the pass before, so that
//! errors do not accumulate.

use crate::selftest::line::Tally;
use crate::selftest::rig::{Rig, epsilon, random, stored};
use lopper_engine::Result;
use lopper_kernels::cpu;
use lopper_kernels::cuda;
use lopper_kernels::params::{Activation, Dtype, Normalized, Statistics};
use lopper_kernels::shapes::BatchNorm;

const EPS: f32 = 1e-5;

/// Rows of pixels, channels, the activation that follows, and whether a residual is added before it.
type Shape = (usize, usize, Activation, bool);

fn shapes(rig: &Rig) -> Vec<Shape> {
    let mut shapes = vec![
        (60, 5, Activation::None, false),
        (300, 24, Activation::Relu, true),
        (75, 136, Activation::Relu6, false),
    ];
    if rig.large {
        shapes.extend([
            (4 * 112 * 112, 64, Activation::Relu, false),
            (8 * 14 * 14, 1024, Activation::Relu, true),
        ]);
    }
    shapes
}

/// Returns the error limit of sums over the rows of a channel, divided by a spread of about ½.
fn limit(dtype: Dtype) -> f64 {
    if dtype == Dtype::F32 { 2e-5 } else { 2.0 * epsilon(dtype) }
}

/// Inputs of both passes, and the results of the CPU's forward pass.
struct Inputs {
    x: Vec<f32>,
    residual: Option<Vec<f32>>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f32>,
    var: Vec<f32>,
    /// Output, rounded as the device stores it.
    y: Vec<f32>,
}

impl Inputs {
    fn new(rig: &Rig, dtype: Dtype, (rows, c, activation, residual): Shape) -> Self {
        let x = stored(dtype, random(1, rows * c));
        let residual = residual.then(|| stored(dtype, random(2, rows * c)));
        let (gamma, beta) = (random(3, c), random(4, c));
        let (mut mean, mut var, mut y) = (vec![0.0; c], vec![0.0; c], vec![0.0; rows * c]);
        let (g, affine) = (BatchNorm { rows, c, eps: EPS }, [&gamma[..], &beta]);
        let end = cpu::Epilogue { bias: None, residual: residual.as_deref(), activation };
        cpu::batch_norm_forward_train(&rig.cpu, &g, &x, affine, &end, &mut y, [&mut mean, &mut var]);
        Self { x, residual, gamma, beta, mean, var, y: stored(dtype, y) }
    }
}

pub fn forward(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let gpu = &rig.gpu;
    for shape in shapes(rig) {
        let (rows, c, activation, _) = shape;
        let Inputs { x, residual, gamma, beta, mean, var, y } = Inputs::new(rig, dtype, shape);
        let (on_x, on_gamma, on_beta) = (rig.put(dtype, &x)?, gpu.upload(&gamma)?, gpu.upload(&beta)?);
        let on_residual = residual.as_ref().map(|r| rig.put(dtype, r)).transpose()?;
        let end = cuda::Epilogue { bias: None, residual: on_residual.as_ref(), activation };
        let (g, affine) = (BatchNorm { rows, c, eps: EPS }, [&on_gamma, &on_beta]);
        let (mut on_mean, mut on_var) = (gpu.buffer(Dtype::F32, c)?, gpu.buffer(Dtype::F32, c)?);
        let got = rig.twice(dtype, y.len(), |y| {
            cuda::batch_norm_forward_train(gpu, &g, &on_x, affine, &end, y, [&mut on_mean, &mut on_var])
        })?;
        tally.compare(&format!("training, {rows}×{c}"), limit(dtype), &got, &y);
        tally.compare(&format!("mean, {rows}×{c}"), 1e-5, &gpu.download(&on_mean)?, &mean);
        tally.compare(&format!("variance, {rows}×{c}"), 1e-5, &gpu.download(&on_var)?, &var);
        // With the batch's own statistics, both modes agree.
        let (on_mean, on_var) = (gpu.upload(&mean)?, gpu.upload(&var)?);
        let got = rig.twice(dtype, y.len(), |y| {
            cuda::batch_norm_forward_eval(gpu, &g, &on_x, [&on_mean, &on_var], affine, &end, y)
        })?;
        tally.compare(&format!("inference, {rows}×{c}"), limit(dtype), &got, &y);
    }
    Ok(())
}

pub fn backward(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    for shape in shapes(rig) {
        for statistics in [Statistics::Batch, Statistics::Given] {
            gradients(rig, tally, dtype, shape, statistics)?;
        }
    }
    Ok(())
}

fn gradients(rig: &Rig, tally: &mut Tally, dtype: Dtype, shape: Shape, statistics: Statistics) -> Result<()> {
    let (gpu, (rows, c, activation, _)) = (&rig.gpu, shape);
    let Inputs { x, residual, gamma, mean, var, y, .. } = Inputs::new(rig, dtype, shape);
    let dy = stored(dtype, random(5, rows * c));
    let (mut dz, mut dx) = (dy.clone(), vec![0.0; rows * c]);
    let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
    let residual_dx = residual.is_some().then_some(&mut dx[..]);
    let g = BatchNorm { rows, c, eps: EPS };
    let forward = Normalized {
        statistics,
        x: &x[..],
        mean: &mean,
        var: &var,
        gamma: &gamma,
        activation,
        y: Some(&y[..]),
    };
    cpu::batch_norm_backward(&rig.cpu, &g, &forward, &mut dz, residual_dx, [&mut dgamma, &mut dbeta]);
    let want_dx = if residual.is_some() { &dx } else { &dz };

    let (on_x, on_y, on_dy) = (rig.put(dtype, &x)?, rig.put(dtype, &y)?, rig.put(dtype, &dy)?);
    let (on_mean, on_var, on_gamma) = (gpu.upload(&mean)?, gpu.upload(&var)?, gpu.upload(&gamma)?);
    let (mut on_dgamma, mut on_dbeta) = (gpu.buffer(Dtype::F32, c)?, gpu.buffer(Dtype::F32, c)?);
    let seen = (activation != Activation::None).then_some(&on_y);
    let forward = Normalized {
        statistics,
        x: &on_x,
        mean: &on_mean,
        var: &on_var,
        gamma: &on_gamma,
        activation,
        y: seen,
    };
    let mut on_dz = gpu.buffer(dtype, dy.len())?;
    let got = rig.twice(dtype, dy.len(), |out| {
        let beside = residual.is_some();
        // The input gradient overwrites dy, or goes to a separate buffer.
        gpu.copy(&on_dy, if beside { &mut on_dz } else { &mut *out })?;
        let (over, dx) = if beside { (&mut on_dz, Some(out)) } else { (out, None) };
        cuda::batch_norm_backward(gpu, &g, &forward, over, dx, [&mut on_dgamma, &mut on_dbeta])
    })?;
    let at = |what: &str| format!("{what}, {statistics:?} statistics, {rows}×{c}");
    tally.compare(&at("dx"), limit(dtype), &got, &stored(dtype, want_dx.clone()));
    if residual.is_some() {
        tally.compare(&at("residual"), 0.0, &rig.get(&on_dz)?, &dz);
    }
    tally.compare(&at("dgamma"), 2e-5, &gpu.download(&on_dgamma)?, &dgamma);
    tally.compare(&at("dbeta"), 2e-5, &gpu.download(&on_dbeta)?, &dbeta);
    Ok(())
}
