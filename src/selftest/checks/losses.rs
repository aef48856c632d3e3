//! Softmax, losses and sums over rows.

use crate::selftest::line::Tally;
use crate::selftest::rig::{Rig, random, stored};
use lopper_engine::Result;
use lopper_kernels::cpu;
use lopper_kernels::cuda;
use lopper_kernels::params::Dtype::{self, F32};

/// Returns rows and classes.
fn shapes(rig: &Rig) -> Vec<[usize; 2]> {
    [[5, 10], [33, 100], [7, 257]].into_iter().chain(rig.large.then_some([512, 1000])).collect()
}

/// Checks sums over the rows of matrices, each given as rows and channels.
pub fn sums(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let large = rig.large.then_some([4 * 112 * 112, 64]);
    for [rows, c] in [[1, 5], [300, 40], [77, 136]].into_iter().chain(large) {
        let x = stored(dtype, random(1, rows * c));
        let on = rig.put(dtype, &x)?;
        let got = rig.twice(F32, c, |sums| cuda::sum_rows(&rig.gpu, rows, c, &on, sums))?;
        let mut want = vec![0.0; c];
        cpu::sum_rows(&rig.cpu, rows, c, &x, &mut want);
        tally.compare(&format!("{rows}×{c}"), 2e-5, &got, &want);
    }
    Ok(())
}

pub fn softmax(rig: &Rig, tally: &mut Tally) -> Result<()> {
    for [rows, k] in shapes(rig) {
        let x: Vec<f32> = random(2, rows * k).iter().map(|x| 10.0 * x).collect();
        let (on, mut want) = (rig.gpu.upload(&x)?, vec![0.0; rows * k]);
        let got = rig.twice(F32, x.len(), |y| cuda::softmax_forward(&rig.gpu, rows, k, &on, y))?;
        cpu::softmax_forward(&rig.cpu, rows, k, &x, &mut want);
        tally.compare(&format!("softmax, {rows}×{k}"), 1e-5, &got, &want);
        let got = rig.twice(F32, x.len(), |y| cuda::log_softmax_forward(&rig.gpu, rows, k, &on, y))?;
        cpu::log_softmax_forward(&rig.cpu, rows, k, &x, &mut want);
        tally.compare(&format!("log, {rows}×{k}"), 1e-5, &got, &want);
    }
    Ok(())
}

/// Checks cross entropy, KL divergence and squared error, with their gradients.
pub fn losses(rig: &Rig, tally: &mut Tally) -> Result<()> {
    const SMOOTHING: f32 = 0.1;
    const TEMPERATURE: f32 = 4.0;
    const SCALE: f32 = 1.5;
    let (gpu, cpu) = (&rig.gpu, &rig.cpu);
    let on_scale = gpu.upload(&[SCALE])?;
    for [rows, k] in shapes(rig) {
        let [a, b] = [3, 4].map(|seed| random(seed, rows * k).iter().map(|x| 4.0 * x).collect::<Vec<f32>>());
        let targets: Vec<u32> = (0..rows).map(|row| (row * 7 % k) as u32).collect();
        let (on_a, on_b, on_targets) = (gpu.upload(&a)?, gpu.upload(&b)?, gpu.upload_u32(&targets)?);
        let mut want = vec![0.0; a.len()];
        let mut compare = |what: &str, got: &[f32], want: &[f32]| {
            tally.compare(&format!("{what}, {rows}×{k}"), 1e-5, got, want);
        };

        let got = rig.twice(F32, 1, |loss| {
            cuda::cross_entropy_forward(gpu, [rows, k], &on_a, &on_targets, SMOOTHING, loss)
        })?;
        let loss = cpu::cross_entropy_forward(cpu, [rows, k], &a, &targets, SMOOTHING);
        compare("cross entropy", &got, &[loss]);
        let got = rig.twice(F32, a.len(), |d| {
            cuda::cross_entropy_input_grad(gpu, [rows, k], &on_a, &on_targets, SMOOTHING, &on_scale, d)
        })?;
        cpu::cross_entropy_input_grad(cpu, [rows, k], &a, &targets, SMOOTHING, SCALE, &mut want);
        compare("cross entropy gradient", &got, &want);

        let got = rig.twice(F32, 1, |loss| {
            cuda::kl_divergence_forward(gpu, [rows, k], &on_a, &on_b, TEMPERATURE, loss)
        })?;
        let loss = cpu::kl_divergence_forward(cpu, [rows, k], &a, &b, TEMPERATURE);
        compare("divergence", &got, &[loss]);
        let got = rig.twice(F32, a.len(), |d| {
            cuda::kl_divergence_input_grad(gpu, [rows, k], &on_a, &on_b, TEMPERATURE, &on_scale, d)
        })?;
        cpu::kl_divergence_input_grad(cpu, [rows, k], &a, &b, TEMPERATURE, SCALE, &mut want);
        compare("divergence gradient", &got, &want);

        let got = rig.twice(F32, 1, |loss| cuda::mse_forward(gpu, &on_a, &on_b, loss))?;
        compare("squared error", &got, &[cpu::mse_forward(cpu, &a, &b)]);
        let got = rig.twice(F32, a.len(), |d| cuda::mse_input_grad(gpu, &on_a, &on_b, &on_scale, d))?;
        cpu::mse_input_grad(cpu, &a, &b, SCALE, &mut want);
        compare("squared error gradient", &got, &want);
    }
    Ok(())
}
