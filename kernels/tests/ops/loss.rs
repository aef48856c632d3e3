//! Softmax and losses.

use crate::support::{check_close, filled, narrow, random};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::reference;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn agree_with_the_reference(
        rows in 1usize..80,
        k in 1usize..50,
        smoothing in prop_oneof![Just(0.0), 0.0..1.0],
        (temperature, upstream) in (0.5..20.0, -2.0..2.0),
        seed in 0u64..1000,
    ) {
        let [smoothing, temperature, upstream] = [smoothing, temperature, upstream].map(|x: f64| f64::from(x as f32));
        let [x, other] = [seed, seed + 1].map(|s| random(s, rows * k).iter().map(|x| f64::from((20.0 * x) as f32)).collect::<Vec<_>>());
        // Logarithms of probabilities, as far as a gradient is concerned.
        let small: Vec<f64> = x.iter().map(|x| -x.abs()).collect();
        let targets: Vec<u32> = (0..rows).map(|i| ((i * 7 + seed as usize) % k) as u32).collect();
        let want = {
            use reference::*;
            let len = rows * k;
            [
                filled(len, |y| softmax_forward(rows, k, &x, y)),
                filled(len, |y| log_softmax_forward(rows, k, &x, y)),
                filled(len, |d| softmax_input_grad([rows, k], &x, &other, d)),
                filled(len, |d| log_softmax_input_grad([rows, k], &small, &other, d)),
                filled(len, |d| cross_entropy_input_grad([rows, k], &x, &targets, smoothing, upstream, d)),
                filled(len, |d| kl_divergence_input_grad([rows, k], &x, &other, temperature, upstream, d)),
                filled(len, |d| mse_input_grad(&x, &other, upstream, d)),
                vec![
                    cross_entropy_forward([rows, k], &x, &targets, smoothing),
                    kl_divergence_forward([rows, k], &x, &other, temperature),
                    mse_forward(&x, &other),
                ],
            ].concat()
        };
        let [x, other, small] = [&x, &other, &small].map(|values| narrow(values));
        let [smoothing, temperature, upstream] = [smoothing, temperature, upstream].map(|x| x as f32);
        let got = |cpu: &Cpu| {
            use cpu::*;
            let len = rows * k;
            [
                filled(len, |y| softmax_forward(cpu, rows, k, &x, y)),
                filled(len, |y| log_softmax_forward(cpu, rows, k, &x, y)),
                filled(len, |d| softmax_input_grad(cpu, [rows, k], &x, &other, d)),
                filled(len, |d| log_softmax_input_grad(cpu, [rows, k], &small, &other, d)),
                filled(len, |d| cross_entropy_input_grad(cpu, [rows, k], &x, &targets, smoothing, upstream, d)),
                filled(len, |d| kl_divergence_input_grad(cpu, [rows, k], &x, &other, temperature, upstream, d)),
                filled(len, |d| mse_input_grad(cpu, &x, &other, upstream, d)),
                vec![
                    cross_entropy_forward(cpu, [rows, k], &x, &targets, smoothing),
                    kl_divergence_forward(cpu, [rows, k], &x, &other, temperature),
                    mse_forward(cpu, &x, &other),
                ],
            ].concat()
        };
        check_close(got, &want, 1e-6);
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let x = [1000.0, 0.0, -1000.0];
    check_close(|cpu| filled(3, |y| cpu::softmax_forward(cpu, 1, 3, &x, y)), &[1.0, 0.0, 0.0], 0.0);
    check_close(|cpu| vec![cpu::cross_entropy_forward(cpu, [1, 3], &x, &[2], 0.0)], &[2000.0], 0.0);
}
