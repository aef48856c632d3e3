//! Batch norm and sums over rows.

use crate::support::{
    bits, check_close, check_exact, check_within, filled, integers, narrow, on_each_isa, random, widen,
};
use lopper_kernels::cpu::{self, Epilogue};
use lopper_kernels::params::{ACTIVATIONS, Activation, Normalized, Statistics};
use lopper_kernels::reference;
use lopper_kernels::shapes::BatchNorm;
use proptest::prelude::*;
use proptest::sample::select;

const EPS: f32 = 1e-5;

/// Returns all results of a forward and a backward pass, concatenated.
fn forward_and_backward_f64(
    rows: usize,
    c: usize,
    x: &[f64],
    p: &[Vec<f64>; 2],
    dy: &[f64],
) -> Vec<Vec<f64>> {
    let [gamma, beta] = p;
    let (mut y, mut mean, mut var) = (vec![0.0; rows * c], vec![0.0; c], vec![0.0; c]);
    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; rows * c], vec![0.0; c], vec![0.0; c]);
    let g = BatchNorm { rows, c, eps: EPS };
    reference::batch_norm_forward_train(&g, x, [gamma, beta], &mut y, [&mut mean, &mut var]);
    reference::batch_norm_backward(&g, x, [&mean, &var], gamma, dy, &mut dx, [&mut dgamma, &mut dbeta]);
    vec![y, mean, var, dx, dgamma, dbeta]
}

/// Returns the same results from the CPU kernels.
fn forward_and_backward(
    cpu: &cpu::Cpu,
    rows: usize,
    c: usize,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    dy: &[f32],
) -> Vec<Vec<f32>> {
    let case =
        Case { rows, c, statistics: Statistics::Batch, x, affine: [gamma, beta], tail: Epilogue::default() };
    let mut all = case.run(cpu, dy);
    // Without a residual, there is no residual gradient.
    all.pop();
    all
}

/// A batch norm with a fused residual and activation.
#[derive(Clone, Copy)]
struct Case<'a> {
    rows: usize,
    c: usize,
    statistics: Statistics,
    x: &'a [f32],
    affine: [&'a [f32]; 2],
    tail: Epilogue<'a>,
}

impl Case<'_> {
    /// Returns the output, the mean, the variance, and the gradients of the input, `gamma`, `beta` and the residual.
    /// Given statistics are 0.1 and 0.9.
    fn run(&self, cpu: &cpu::Cpu, dy: &[f32]) -> Vec<Vec<f32>> {
        let Self { rows, c, statistics, x, affine, tail } = *self;
        let g = BatchNorm { rows, c, eps: EPS };
        // Outputs must not depend on their previous contents.
        let (mut y, mut mean, mut var) = (vec![f32::NAN; rows * c], vec![0.1; c], vec![0.9; c]);
        if statistics == Statistics::Batch {
            cpu::batch_norm_forward_train(cpu, &g, x, affine, &tail, &mut y, [&mut mean, &mut var]);
        } else {
            cpu::batch_norm_forward_eval(cpu, &g, x, [&mean, &var], affine, &tail, &mut y);
        }
        let (mut dy, mut dgamma, mut dbeta) = (dy.to_vec(), vec![f32::NAN; c], vec![f32::NAN; c]);
        let mut residual_dx = tail.residual.map(|_| vec![f32::NAN; rows * c]);
        let activation = tail.activation;
        let seen = (activation != Activation::None).then_some(&y[..]);
        let forward =
            Normalized { statistics, x, mean: &mean, var: &var, gamma: affine[0], activation, y: seen };
        let beside = residual_dx.as_deref_mut();
        cpu::batch_norm_backward(cpu, &g, &forward, &mut dy, beside, [&mut dgamma, &mut dbeta]);
        let (dx, residual_grad) = match residual_dx {
            Some(dx) => (dx, dy),
            None => (dy, Vec::new()),
        };
        vec![y, mean, var, dx, dgamma, dbeta, residual_grad]
    }

    /// Computes the results of [`Case::run`] with separate kernels.
    fn run_apart(&self, cpu: &cpu::Cpu, dy: &[f32]) -> Vec<Vec<f32>> {
        let alone = |dz: &[f32]| Self { tail: Epilogue::default(), ..*self }.run(cpu, dz);
        let mut z = alone(dy).swap_remove(0);
        if let Some(residual) = self.tail.residual {
            cpu::add_assign(cpu, &mut z, residual);
        }
        let (mut y, mut dz) = (z.clone(), dy.to_vec());
        cpu::activation_forward(cpu, self.tail.activation, &z, &mut y);
        cpu::activation_input_grad(cpu, self.tail.activation, &y, dy, &mut dz);
        let mut all = alone(&dz);
        all[0] = y;
        all[6] = if self.tail.residual.is_some() { dz } else { Vec::new() };
        all
    }
}

/// Bounds the rounding of each of the results `want`, to first order: the error of the statistics is bounded on its
/// own, then carried through the formulas. With few rows, a channel can be nearly constant, and normalizing it
/// magnifies the error of the mean; no fixed tolerance fits.
fn rounding(
    rows: usize,
    c: usize,
    x: &[f64],
    p: &[Vec<f64>; 2],
    dy: &[f64],
    want: &[Vec<f64>],
) -> Vec<Vec<f64>> {
    let ([gamma, beta], [y, mean, var, dx, dgamma, dbeta]) = (p, want) else { unreachable!("six results") };
    let (n, eps) = (rows as f64, f64::from(f32::EPSILON));
    // Sums in several partial sums, whose errors are independent.
    let sum = 2.0 * eps * n.sqrt();
    let mut bounds: Vec<Vec<f64>> = want.iter().map(|want| vec![0.0; want.len()]).collect();
    for ch in 0..c {
        let (e_mean, e_var) = (8.0 * eps * (1.0 + mean[ch].abs()), 4.0 * sum * var[ch]);
        let std = (var[ch] + f64::from(EPS)).sqrt();
        let relative = e_var / (2.0 * std * std) + 2.0 * eps;
        let x_hat = |i: usize| (x[i] - mean[ch]) / std;
        let e_x_hat = |i: usize| e_mean / std + x_hat(i).abs() * relative;
        let channel = || (ch..rows * c).step_by(c);
        let e_dbeta = sum * channel().map(|i| dy[i].abs()).sum::<f64>();
        let e_dgamma: f64 = channel().map(|i| dy[i].abs() * (e_x_hat(i) + sum * x_hat(i).abs())).sum();
        [bounds[1][ch], bounds[2][ch], bounds[4][ch], bounds[5][ch]] = [e_mean, e_var, e_dgamma, e_dbeta];
        for i in channel() {
            bounds[0][i] = gamma[ch].abs() * e_x_hat(i) + 2.0 * eps * (y[i].abs() + beta[ch].abs());
            let through_mean = eps * dbeta[ch].abs() + e_dbeta;
            let through_var =
                x_hat(i).abs() * (eps * dgamma[ch].abs() + e_dgamma) + e_x_hat(i) * dgamma[ch].abs();
            let e_sum = 2.0 * eps * dy[i].abs() + (through_mean + through_var) / n;
            bounds[3][i] = gamma[ch].abs() / std * e_sum + relative * dx[i].abs();
        }
    }
    bounds
}

/// `x` with channel means up to `mean` and a spread of 1, as `f32` values.
fn data(rows: usize, c: usize, mean: f64, seed: u64) -> Vec<f64> {
    let (noise, means) = (random(seed, rows * c), random(seed + 1, c));
    let x: Vec<f64> = noise.iter().enumerate().map(|(i, &e)| e + mean * means[i % c]).collect();
    widen(&narrow(&x))
}

/// Rows and channels: a few of each, and more channels than a task's part of the data.
fn shape() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![9 => (1usize..600, 1usize..150), 1 => (1usize..4, 16_300usize..16_500)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn training_agrees_with_the_reference(rows in 2usize..400, c in 1usize..150, seed in 0u64..1000) {
        let x = data(rows, c, 2.0, seed);
        let p = [random(seed + 2, c), random(seed + 3, c)];
        let dy = random(seed + 4, rows * c);
        let want = forward_and_backward_f64(rows, c, &x, &p, &dy);
        let bounds = rounding(rows, c, &x, &p, &dy, &want);
        let [x, dy, gamma, beta] = [&x, &dy, &p[0], &p[1]].map(|v| narrow(v));
        for (which, bound) in bounds.iter().enumerate() {
            let op = |cpu: &cpu::Cpu| {
                forward_and_backward(cpu, rows, c, &x, &gamma, &beta, &dy).swap_remove(which)
            };
            check_within(op, &want[which], bound);
        }
    }

    #[test]
    fn given_statistics_agree_with_the_reference(rows in 1usize..300, c in 1usize..150, seed in 0u64..1000) {
        let x = random(seed, rows * c);
        let (mean, gamma, beta) = (random(seed + 1, c), random(seed + 2, c), random(seed + 3, c));
        let var: Vec<f64> = widen(&narrow(&random(seed + 4, c).iter().map(|v| v.abs() + 0.1).collect::<Vec<_>>()));
        let dy = random(seed + 5, rows * c);
        let g = BatchNorm { rows, c, eps: EPS };
        let y = filled(rows * c, |y| reference::batch_norm_forward_eval(&g, &x, [&mean, &var], [&gamma, &beta], y));
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; rows * c], vec![0.0; c], vec![0.0; c]);
        reference::batch_norm_eval_backward(&g, &x, [&mean, &var], &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
        let want = [y, dx, dgamma, dbeta].concat();
        let [x, dy, mean, var, gamma, beta] = [&x, &dy, &mean, &var, &gamma, &beta].map(|v| narrow(v));
        let op = |cpu: &cpu::Cpu| {
            let y = filled(rows * c, |y| {
                cpu::batch_norm_forward_eval(cpu, &g, &x, [&mean, &var], [&gamma, &beta], &Epilogue::default(), y)
            });
            let (mut dx, mut dgamma, mut dbeta) = (dy.clone(), vec![0.0; c], vec![0.0; c]);
            let (statistics, activation) = (Statistics::Given, Activation::None);
            let forward =
                Normalized { statistics, x: &x[..], mean: &mean, var: &var, gamma: &gamma, activation, y: None };
            cpu::batch_norm_backward(cpu, &g, &forward, &mut dx, None, [&mut dgamma, &mut dbeta]);
            [y, dx, dgamma, dbeta].concat()
        };
        check_close(op, &want, 2e-6 * (rows as f64).sqrt());
    }

    #[test]
    fn fusing_a_tail_is_bit_identical(
        rows in 2usize..300,
        c in 1usize..150,
        statistics in prop_oneof![Just(Statistics::Batch), Just(Statistics::Given)],
        activation in select(ACTIVATIONS.to_vec()).prop_filter("a clamp", |f| f.bounds().is_some()),
        add in any::<bool>(),
        seed in 0u64..1000,
    ) {
        // Wide enough to reach both bounds of ReLU6.
        let wide = |seed: u64, len: usize| -> Vec<f32> { random(seed, len).iter().map(|x| 5.0 * *x as f32).collect() };
        let (x, residual, dy) = (wide(seed, rows * c), wide(seed + 1, rows * c), wide(seed + 2, rows * c));
        let (gamma, beta) = (wide(seed + 3, c), wide(seed + 4, c));
        let residual = add.then_some(&residual[..]);
        let tail = Epilogue { bias: None, residual, activation };
        let case = Case { rows, c, statistics, x: &x, affine: [&gamma, &beta], tail };
        let fused = |cpu: &cpu::Cpu| case.run(cpu, &dy).concat();
        let apart = |cpu: &cpu::Cpu| case.run_apart(cpu, &dy).concat();
        for ((isa, fused), (_, apart)) in on_each_isa(fused).into_iter().zip(on_each_isa(apart)) {
            prop_assert!(bits(&fused) == bits(&apart), "{isa}");
        }
    }

    #[test]
    fn sums_of_integers_are_exact((rows, c) in shape(), seed in 0u64..1000) {
        let x = integers(seed, rows * c);
        let want = filled(c, |out| reference::sum_rows(rows, c, &x, out));
        let total = reference::sum(&x) as f32;
        let x = narrow(&x);
        check_exact(|cpu| filled(c, |out| cpu::sum_rows(cpu, rows, c, &x, out)), &narrow(&want));
        check_exact(|cpu| vec![cpu::sum(cpu, &x)], &[total]);
    }

    #[test]
    fn sums_stay_within_their_bound(rows in 1usize..600, c in 1usize..150, seed in 0u64..1000) {
        let x = random(seed, rows * c);
        let magnitudes: Vec<f64> = x.iter().map(|x| x.abs()).collect();
        let want = filled(c, |out| reference::sum_rows(rows, c, &x, out));
        let bound = filled(c, |out| reference::sum_rows(rows, c, &magnitudes, out));
        let factor = 2.0 * f64::from(f32::EPSILON) * (rows as f64).sqrt();
        let bound: Vec<f64> = bound.iter().map(|sum| factor * sum).collect();
        let x = narrow(&x);
        check_within(|cpu| filled(c, |out| cpu::sum_rows(cpu, rows, c, &x, out)), &want, &bound);
    }
}

/// Tests a case in which the one-pass formula `E[x²] − E[x]²` in `f32` would have no correct digit left.
#[test]
fn statistics_survive_a_mean_far_above_the_spread() {
    for (rows, c) in [(3000, 7), (500, 64), (100, 200)] {
        let x = data(rows, c, 1e4, 11);
        let p = [vec![1.0; c], vec![0.0; c]];
        let dy = random(12, rows * c);
        let want = forward_and_backward_f64(rows, c, &x, &p, &dy);
        let [x, dy, gamma, beta] = [&x, &dy, &p[0], &p[1]].map(|v| narrow(v));
        let run = |cpu: &cpu::Cpu| forward_and_backward(cpu, rows, c, &x, &gamma, &beta, &dy);
        check_close(|cpu| run(cpu).swap_remove(1), &want[1], f64::from(f32::EPSILON));
        check_close(|cpu| run(cpu).swap_remove(2), &want[2], 1e-6);
        // The mean itself is rounded to f32; half an ulp of 1e4 is 5e-4 of the spread.
        check_close(|cpu| run(cpu).swap_remove(0), &want[0], 1e-3);
    }
}

/// Each chunk subtracts its first row. The worst case is a first row far from all others.
#[test]
fn variance_survives_an_outlier_in_the_first_row() {
    let (rows, c) = (20_000, 5);
    let mut x = random(3, rows * c);
    x[..c].fill(1e6);
    let x = narrow(&x);
    let (mut mean, mut var, mut y) = (vec![0.0; c], vec![0.0; c], vec![0.0; rows * c]);
    let ones = vec![1.0; c];
    let g = BatchNorm { rows, c, eps: EPS };
    reference::batch_norm_forward_train(&g, &widen(&x), [&ones, &ones], &mut y, [&mut mean, &mut var]);
    let relative = |values: &[f64]| -> Vec<f64> { values.iter().map(|v| 1e-4 * v).collect() };
    let run = |cpu: &cpu::Cpu| {
        let ones = vec![1.0; c];
        forward_and_backward(cpu, rows, c, &x, &ones, &ones, &x)
    };
    check_within(|cpu| run(cpu).swap_remove(1), &mean, &relative(&mean));
    check_within(|cpu| run(cpu).swap_remove(2), &var, &relative(&var));
}

#[test]
fn a_constant_channel_has_no_variance() {
    let x = vec![0.1; 300 * 6];
    let ones = vec![1.0; 6];
    check_exact(|cpu| forward_and_backward(cpu, 300, 6, &x, &ones, &ones, &x).swap_remove(2), &[0.0; 6]);
}
