//! Batch norm with batch statistics and with given ones, group and layer norm and slopes of channels, forward and backward, and sums
//! over rows.

use crate::cases::run;
use crate::draw::{Draw, filled, wanted};
use crate::support::{CPUS, assert_bounded, magnitude, wide};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Epilogue};
use lopper_kernels::params::{Activation, Normalized, Statistics};
use lopper_kernels::reference;
use lopper_kernels::shapes::{BatchNorm, GroupNorm, LayerNorm};

const EPS: f32 = 1e-3;

/// Rows and channels: a few of each, and sometimes more of one than a task takes.
fn shape(draw: &mut Draw) -> (usize, usize) {
    match draw.between(0..=49) {
        0 => (draw.between(1..=3), draw.between(16_300..=16_500)),
        1 => (draw.between(2000..=4000), draw.between(1..=20)),
        _ => (draw.between(1..=150), draw.between(1..=100)),
    }
}

/// Asserts that each value is within `tolerance`, relative to `1 + |want|`.
fn close(what: &str, tolerance: f64, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - want).abs();
        assert!(error <= tolerance * (1.0 + want.abs()), "{what}[{i}]: {got} for {want}, error {error:e}");
    }
}

#[test]
fn batch_norms() {
    run("batch_norms", 50, |draw| {
        let (rows, c) = shape(draw);
        let statistics = draw.pick(&[Statistics::Batch, Statistics::Given]);
        let activation = draw.pick(&[Activation::None, Activation::Relu]);
        let with_residual = draw.one_in(2);
        draw.about(format_args!("{rows}×{c}, {statistics:?}, {activation:?}, residual: {with_residual}"));
        let (x, dy) = (draw.reals(rows * c), draw.reals(rows * c));
        let residual = with_residual.then(|| draw.reals(rows * c));
        let (gamma, beta) = (draw.reals(c), draw.reals(c));
        let (given_mean, given_var) =
            (draw.reals(c), draw.reals(c).iter().map(|v| v.abs()).collect::<Buffer>());

        let (mut mean, mut var, g) = (wide(&given_mean), wide(&given_var), BatchNorm { rows, c, eps: EPS });
        let mut y = vec![f64::NAN; rows * c];
        let [x64, gamma64, beta64] = [&x, &gamma, &beta].map(|v| wide(v));
        match statistics {
            Statistics::Batch => {
                reference::batch_norm_forward_train(
                    &g,
                    &x64,
                    [&gamma64, &beta64],
                    &mut y,
                    [&mut mean, &mut var],
                );
            }
            Statistics::Given => {
                reference::batch_norm_forward_eval(&g, &x64, [&mean, &var], [&gamma64, &beta64], &mut y);
            }
        }
        reference::conv2d_epilogue(residual.as_deref().map(wide).as_deref(), activation, &mut y);
        // A channel with few rows may be nearly constant. Then `eps` bounds the growth of rounding errors.
        let growth = 1.0 / f64::from(EPS).sqrt();
        for cpu in &*CPUS {
            let what = |part: &str| format!("{} {part}", cpu.isa());
            let (mut got, mut got_mean, mut got_var) =
                (Buffer::unspecified(rows * c), given_mean.clone(), given_var.clone());
            let end = Epilogue { bias: None, residual: residual.as_deref(), activation };
            let affine = [&gamma[..], &beta];
            match statistics {
                Statistics::Batch => {
                    let statistics = [&mut got_mean[..], &mut got_var];
                    cpu::batch_norm_forward_train(cpu, &g, &x, affine, &end, &mut got, statistics);
                }
                Statistics::Given => {
                    let statistics = [&got_mean[..], &got_var];
                    cpu::batch_norm_forward_eval(cpu, &g, &x, statistics, affine, &end, &mut got);
                }
            }
            close(&what("y"), 1e-6 * growth, &got, &y);
            close(&what("mean"), 1e-6, &got_mean, &mean);
            close(&what("var"), 1e-5, &got_var, &var);
            let y = (activation != Activation::None).then_some(&got[..]);
            let (x, gamma, mean, var) = (&x[..], &gamma[..], &got_mean[..], &got_var[..]);
            backward(
                cpu,
                &g,
                &Normalized { statistics, x, mean, var, gamma, activation, y },
                &dy,
                with_residual,
            );
        }
    });
}

/// Checks the gradients, given the output and the statistics of the forward pass.
fn backward(cpu: &cpu::Cpu, g: &BatchNorm, forward: &Normalized<&[f32]>, dy: &Buffer, with_residual: bool) {
    let &BatchNorm { rows, c, .. } = g;
    let mut dz = wide(dy);
    if let (Activation::Relu, Some(y)) = (forward.activation, forward.y) {
        dz.iter_mut().zip(y).filter(|(_, y)| **y <= 0.0).for_each(|(dz, _)| *dz = 0.0);
    }
    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; rows * c], vec![0.0; c], vec![0.0; c]);
    let gradient = match forward.statistics {
        Statistics::Batch => reference::batch_norm_backward,
        Statistics::Given => reference::batch_norm_eval_backward,
    };
    let [x, mean, var, gamma] = [forward.x, forward.mean, forward.var, forward.gamma].map(wide);
    gradient(g, &x, [&mean, &var], &gamma, &dz, &mut dx, [&mut dgamma, &mut dbeta]);
    let (mut in_place, mut apart) = (dy.clone(), with_residual.then(|| Buffer::unspecified(rows * c)));
    let (mut got_gamma, mut got_beta) = (Buffer::unspecified(c), Buffer::unspecified(c));
    let affine = [&mut got_gamma[..], &mut got_beta];
    cpu::batch_norm_backward(cpu, g, forward, &mut in_place, apart.as_deref_mut(), affine);
    if with_residual {
        close("residual", 0.0, &in_place, &dz);
    }
    let growth = 1.0 / f64::from(EPS).sqrt();
    let rows = (rows as f64).sqrt();
    close("dx", 1e-6 * growth * growth, apart.as_ref().unwrap_or(&in_place), &dx);
    close("dgamma", 2e-6 * growth * rows, &got_gamma, &dgamma);
    close("dbeta", 1e-6 * rows, &got_beta, &dbeta);
}

#[test]
fn sums_over_rows() {
    run("sums_over_rows", 20, |draw| {
        let (rows, c) = shape(draw);
        let integers = draw.one_in(2);
        draw.about(format_args!("{rows}×{c}, integers: {integers}"));
        let x = draw.values(integers, rows * c);
        let sums = |of: fn(&[f32]) -> Vec<f64>| wanted(c, |out| reference::sum_rows(rows, c, &of(&x), out));
        let constant = if integers { 0.0 } else { 2.0 };
        for cpu in &*CPUS {
            let got = filled(c, |out| cpu::sum_rows(cpu, rows, c, &x, out));
            assert_bounded("rows", constant, rows, &got, &sums(wide), &sums(magnitude));
            let (want, all) = (reference::sum(&wide(&x)), reference::sum(&magnitude(&x)));
            assert_bounded("all", constant, rows * c, &[cpu::sum(cpu, &x)], &[want], &[all]);
        }
    });
}

#[test]
fn group_norms() {
    run("group_norms", 25, |draw| {
        let (pixels, depth) = match draw.between(0..=29) {
            0 => (draw.between(2000..=3000), draw.between(1..=3)),
            _ => (draw.between(1..=120), draw.between(1..=20)),
        };
        let (n, groups) = (draw.between(1..=3), draw.between(1..=8));
        let g = GroupNorm { n, pixels, c: groups * depth, groups, eps: EPS };
        draw.about(format_args!("{g:?}"));
        let (x, dy) = (draw.reals(g.len()), draw.reals(g.len()));
        let (gamma, beta) = (draw.reals(g.c), draw.reals(g.c));
        let [x64, dy64, gamma64, beta64] = [&x, &dy, &gamma, &beta].map(|v| wide(v));
        let y = wanted(g.len(), |y| reference::group_norm_forward(&g, &x64, [&gamma64, &beta64], y));
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; g.len()], vec![0.0; g.c], vec![0.0; g.c]);
        reference::group_norm_backward(&g, &x64, &gamma64, &dy64, &mut dx, [&mut dgamma, &mut dbeta]);
        let growth = 1.0 / f64::from(EPS).sqrt();
        for cpu in &*CPUS {
            let got = filled(g.len(), |y| cpu::group_norm_forward(cpu, &g, &x, [&gamma, &beta], y));
            close("y", 1e-6 * growth, &got, &y);
            let [mut got_dx, mut got_gamma, mut got_beta] = [g.len(), g.c, g.c].map(Buffer::unspecified);
            let affine = [&mut got_gamma[..], &mut got_beta];
            cpu::group_norm_backward(cpu, &g, &x, &gamma, &dy, &mut got_dx, affine);
            close("dx", 4e-6 * growth * growth, &got_dx, &dx);
            close("dgamma", 2e-6 * growth * ((n * pixels) as f64).sqrt(), &got_gamma, &dgamma);
            close("dbeta", 1e-6 * ((n * pixels) as f64).sqrt(), &got_beta, &dbeta);
        }
    });
}

#[test]
fn layer_norms() {
    run("layer_norms", 25, |draw| {
        let (rows, c) = shape(draw);
        let removed = draw.between(0..=3);
        let constant = f64::from(draw.real());
        let g = LayerNorm {
            width: c + removed,
            sum: removed as f64 * constant,
            squares: removed as f64 * constant * constant,
            ..LayerNorm::whole(rows, c, EPS)
        };
        draw.about(format_args!("{g:?}"));
        let (x, dy) = (draw.reals(rows * c), draw.reals(rows * c));
        let (gamma, beta) = (draw.reals(c), draw.reals(c));
        let [x64, dy64, gamma64, beta64] = [&x, &dy, &gamma, &beta].map(|v| wide(v));
        let y = wanted(rows * c, |y| reference::layer_norm_forward(&g, &x64, [&gamma64, &beta64], y));
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; rows * c], vec![0.0; c], vec![0.0; c]);
        reference::layer_norm_backward(&g, &x64, &gamma64, &dy64, &mut dx, [&mut dgamma, &mut dbeta]);
        let growth = 1.0 / f64::from(EPS).sqrt();
        for cpu in &*CPUS {
            let got = filled(rows * c, |y| cpu::layer_norm_forward(cpu, &g, &x, [&gamma, &beta], y));
            close("y", 1e-6 * growth, &got, &y);
            let [mut got_dx, mut got_gamma, mut got_beta] = [rows * c, c, c].map(Buffer::unspecified);
            let affine = [&mut got_gamma[..], &mut got_beta];
            cpu::layer_norm_backward(cpu, &g, &x, &gamma, &dy, &mut got_dx, affine);
            close("dx", 4e-6 * growth * growth, &got_dx, &dx);
            close("dgamma", 2e-6 * growth * (rows as f64).sqrt(), &got_gamma, &dgamma);
            close("dbeta", 1e-6 * (rows as f64).sqrt(), &got_beta, &dbeta);
        }
    });
}

#[test]
fn slopes_of_channels() {
    run("slopes_of_channels", 15, |draw| {
        let (rows, c) = shape(draw);
        draw.about(format_args!("{rows}×{c}"));
        let (x, dy, slope) = (draw.integers(rows * c), draw.integers(rows * c), draw.integers(c));
        let y = filled(rows * c, |y| reference::prelu_forward(c, &x, &slope, y));
        let (mut dx, mut dslope) = (vec![0.0; rows * c], vec![0.0; c]);
        reference::prelu_backward(c, &x, &slope, &dy, &mut dx, &mut dslope);
        for cpu in &*CPUS {
            assert_eq!(filled(rows * c, |y| cpu::prelu_forward(cpu, c, &x, &slope, y))[..], y[..]);
            let (mut got, mut got_slope) = (Buffer::unspecified(rows * c), Buffer::unspecified(c));
            cpu::prelu_backward(cpu, c, &x, &slope, &dy, &mut got, &mut got_slope);
            assert_eq!((&got[..], &got_slope[..]), (&dx[..], &dslope[..]), "{}", cpu.isa());
        }
    });
}
