//! Matrix products and linear layers.

use crate::selftest::case::Case;
use crate::selftest::grades::Grade;
use crate::selftest::line::Tally;
use crate::selftest::rig::{Rig, epsilon, factors, random};
use lopper_engine::Result;
use lopper_kernels::cpu;
use lopper_kernels::cuda::{self, Epilogue};
use lopper_kernels::params::{Dtype, Trans};
use lopper_kernels::shapes::{Linear, Matmul};

/// Returns how far a sum of `depth` products of random numbers may differ between summation orders, relative to the
/// largest sum, plus the rounding to `dtype`. The limit is wider for tensor cores, which truncate their sums where
/// others round. It still detects a missing product, which changes a sum by `1/√depth` or more.
pub fn limit(precision: Dtype, depth: usize, dtype: Dtype) -> f64 {
    let growth = f64::from(f32::EPSILON) * (depth as f64).sqrt();
    let sums = if precision == Dtype::F32 { 2e-5 + 2.0 * growth } else { 1e-4 + 8.0 * growth };
    sums + if dtype == Dtype::F32 { 0.0 } else { epsilon(dtype) }
}

/// Returns m, n and k.
fn sizes(rig: &Rig) -> Vec<[usize; 3]> {
    let small = [[7, 5, 9], [33, 65, 130], [136, 72, 40], [24, 40, 520]];
    let large = [[1000, 512, 768], [64, 1000, 2048], [512, 4608, 1568]];
    small.into_iter().chain(large.into_iter().filter(|_| rig.large)).collect()
}

/// Checks every transpose, overwriting C and adding to it; for Hopper's kernels, only the supported combinations.
pub fn gemm(grade: Grade, precision: Dtype) -> Case {
    let how = format!("{}, {}", grade.name(), precision.name());
    Case::check("gemm", how, move |rig, tally| {
        if grade == Grade::Wgmma && rig.gpu.arch() != "sm_90a" {
            tally.skip(format!("wgmma needs sm_90a, this device is {}", rig.gpu.arch()));
            return Ok(());
        }
        for sizes in sizes(rig) {
            for ta in [Trans::No, Trans::Yes] {
                for tb in [Trans::No, Trans::Yes] {
                    // Rows of whole vectors, A as is and B transposed.
                    let hopper = [ta, tb] == [Trans::No, Trans::Yes] && sizes[2].is_multiple_of(8);
                    if grade != Grade::Wgmma || hopper {
                        one(rig, tally, grade, precision, [ta, tb], sizes)?;
                    }
                }
            }
        }
        Ok(())
    })
}

fn one(
    rig: &Rig,
    tally: &mut Tally,
    grade: Grade,
    precision: Dtype,
    trans: [Trans; 2],
    sizes: [usize; 3],
) -> Result<()> {
    let ([m, n, k], g, dtype) = (sizes, Matmul::new(trans, sizes), precision.storage());
    let (a, b) = (factors(precision, random(1, m * k)), factors(precision, random(2, k * n)));
    let start = factors(precision, random(3, m * n));
    let (on_a, on_b, on_start) = (rig.put(dtype, &a)?, rig.put(dtype, &b)?, rig.put(dtype, &start)?);
    let (gpu, both) = (rig.gpu(precision), if grade == Grade::Wgmma { &[false][..] } else { &[false, true] });
    for &accumulate in both {
        let got = rig.twice(dtype, m * n, |c| {
            gpu.copy(&on_start, c)?;
            grade.gemm(&gpu, &g, &on_a, &on_b, accumulate, c)
        })?;
        let mut want = start.clone();
        cpu::gemm(&rig.cpu, &g, &a, &b, accumulate, &mut want);
        let sum = if accumulate { ", added" } else { "" };
        let at = format!("{:?} {:?} {m}×{n}×{k}{sum}", trans[0], trans[1]);
        tally.compare(&at, limit(precision, k, dtype), &got, &want);
    }
    Ok(())
}

/// Checks linear layers with a bias, and both gradients.
pub fn linear(precision: Dtype) -> Case {
    Case::check("linear", precision.name(), move |rig, tally| {
        let small = [[3, 17, 5], [16, 130, 70], [1, 3000, 40], [40, 72, 24]];
        let large = [[64, 4096, 4096], [64, 2048, 1000]];
        for [n, inputs, outputs] in small.into_iter().chain(large.into_iter().filter(|_| rig.large)) {
            layer(rig, tally, precision, &Linear { n, inputs, outputs })?;
        }
        Ok(())
    })
}

fn layer(rig: &Rig, tally: &mut Tally, precision: Dtype, g: &Linear) -> Result<()> {
    let (gpu, cpu, dtype) = (&rig.gpu(precision), &rig.cpu, precision.storage());
    let values = |seed, len| factors(precision, random(seed, len));
    let (x, w, dy) = (values(1, g.n * g.inputs), values(2, g.outputs * g.inputs), values(3, g.n * g.outputs));
    let bias = random(4, g.outputs);
    let (on_x, on_w, on_dy) = (rig.put(dtype, &x)?, rig.put(dtype, &w)?, rig.put(dtype, &dy)?);
    let on_bias = gpu.upload(&bias)?;
    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    cpu::linear_forward(cpu, g, &x, &w, Some(&bias), &mut y);
    cpu::linear_input_grad(cpu, g, &dy, &w, &mut dx);
    cpu::linear_weight_grad(cpu, g, &x, &dy, &mut dw);
    let mut compare = |what: &str, depth: usize, out: Dtype, got: &[f32], want: &[f32]| {
        let at = format!("{what}, {}×{} to {}", g.n, g.inputs, g.outputs);
        tally.compare(&at, limit(precision, depth, out), got, want);
    };
    let end = Epilogue { bias: Some(&on_bias), ..Default::default() };
    let got = rig.twice(dtype, y.len(), |y| cuda::linear_forward(gpu, g, &on_x, &on_w, &end, y))?;
    compare("forward", g.inputs, dtype, &got, &y);
    let got = rig.twice(dtype, dx.len(), |dx| cuda::linear_input_grad(gpu, g, &on_dy, &on_w, dx))?;
    compare("input gradient", g.outputs, dtype, &got, &dx);
    let got = rig.twice(Dtype::F32, dw.len(), |dw| cuda::linear_weight_grad(gpu, g, &on_x, &on_dy, dw))?;
    compare("weight gradient", g.n, Dtype::F32, &got, &dw);
    Ok(())
}
