//! Softmax, and losses with their gradients.

use crate::cases::run;
use crate::draw::{filled, wanted};
use crate::support::{CPUS, wide};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu;
use lopper_kernels::reference;

/// Asserts that the error of each value is at most a few rounding errors of scores of this size.
fn close(what: &str, got: &[f32], want: &[f64]) {
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - want).abs();
        assert!(error <= 2e-6 * (1.0 + want.abs()), "{what}[{i}]: got {got}, want {want}, error {error:e}");
    }
}

#[test]
fn softmax_and_losses() {
    run("softmax_and_losses", 20, |draw| {
        let (rows, k) = (draw.between(1..=40), draw.between(1..=70));
        let smoothing = draw.pick(&[0.0f32, 0.125]);
        let (temperature, scale) = (draw.pick(&[0.5f32, 1.0, 4.0]), 2.0 * draw.real());
        draw.about(format_args!(
            "{rows}×{k}, smoothing {smoothing}, temperature {temperature}, gradient {scale}"
        ));
        let len = rows * k;
        let [x, other] = [0; 2].map(|_| draw.reals(len).iter().map(|x| 10.0 * x).collect::<Buffer>());
        let targets: Vec<u32> = (0..rows).map(|_| draw.between(0..=k - 1) as u32).collect();
        let (x64, other64, scale64) = (wide(&x), wide(&other), f64::from(scale));
        let (smoothing64, temperature64) = (f64::from(smoothing), f64::from(temperature));
        for cpu in &*CPUS {
            let y = filled(len, |y| cpu::softmax_forward(cpu, rows, k, &x, y));
            close("softmax", &y, &wanted(len, |y| reference::softmax_forward(rows, k, &x64, y)));
            let d = filled(len, |d| cpu::softmax_input_grad(cpu, [rows, k], &y, &other, d));
            let y64 = wide(&y);
            let want = wanted(len, |d| reference::softmax_input_grad([rows, k], &y64, &other64, d));
            close("its gradient", &d, &want);
            let y = filled(len, |y| cpu::log_softmax_forward(cpu, rows, k, &x, y));
            close("log-softmax", &y, &wanted(len, |y| reference::log_softmax_forward(rows, k, &x64, y)));
            let d = filled(len, |d| cpu::log_softmax_input_grad(cpu, [rows, k], &y, &other, d));
            let y64 = wide(&y);
            let want = wanted(len, |d| reference::log_softmax_input_grad([rows, k], &y64, &other64, d));
            close("its gradient", &d, &want);
            let loss = cpu::cross_entropy_forward(cpu, [rows, k], &x, &targets, smoothing);
            close(
                "cross entropy",
                &[loss],
                &[reference::cross_entropy_forward([rows, k], &x64, &targets, smoothing64)],
            );
            let d = filled(len, |d| {
                cpu::cross_entropy_input_grad(cpu, [rows, k], &x, &targets, smoothing, scale, d)
            });
            let want = wanted(len, |d| {
                reference::cross_entropy_input_grad([rows, k], &x64, &targets, smoothing64, scale64, d);
            });
            close("its gradient", &d, &want);
            let loss = cpu::kl_divergence_forward(cpu, [rows, k], &x, &other, temperature);
            close(
                "KL",
                &[loss],
                &[reference::kl_divergence_forward([rows, k], &x64, &other64, temperature64)],
            );
            let d = filled(len, |d| {
                cpu::kl_divergence_input_grad(cpu, [rows, k], &x, &other, temperature, scale, d)
            });
            let want = wanted(len, |d| {
                reference::kl_divergence_input_grad([rows, k], &x64, &other64, temperature64, scale64, d);
            });
            close("its gradient", &d, &want);
            close("MSE", &[cpu::mse_forward(cpu, &x, &other)], &[reference::mse_forward(&x64, &other64)]);
            let d = filled(len, |d| cpu::mse_input_grad(cpu, &x, &other, scale, d));
            close(
                "its gradient",
                &d,
                &wanted(len, |d| reference::mse_input_grad(&x64, &other64, scale64, d)),
            );
        }
    });
}
