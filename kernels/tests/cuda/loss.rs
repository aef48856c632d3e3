//! Sums over rows, softmax and losses, forward and backward, against the reference in double precision.

use crate::support::device;
use crate::values::{FLOATS, check_close, epsilon, filled, get, integers, narrow, put, random};
use lopper_kernels::cuda;
use lopper_kernels::params::Dtype::F32;
use lopper_kernels::reference;
use proptest::prelude::*;

/// Returns `len` zeros after `fill` has written to them.
fn wanted(len: usize, fill: impl FnOnce(&mut [f64])) -> Vec<f64> {
    let mut out = vec![0.0; len];
    fill(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sums_over_rows_are_exact_on_integers(
        rows in 0usize..400,
        c in prop_oneof![1usize..20, Just(40), Just(72), Just(300)],
        dtype in 0usize..3,
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let x = integers(1, rows * c);
        let on = put(gpu, FLOATS[dtype], &x);
        let got = filled(gpu, F32, c, |out| cuda::sum_rows(gpu, rows, c, &on, out).unwrap());
        assert_eq!(got, narrow(&wanted(c, |out| reference::sum_rows(rows, c, &x, out))));
    }

    #[test]
    fn softmax_and_its_gradient(rows in 1usize..20, k in 1usize..100, size in 1.0..50.0, dtype in 0usize..3) {
        let Some(gpu) = device() else { return Ok(()) };
        let (dtype, len) = (FLOATS[dtype], rows * k);
        let x: Vec<f64> = random(1, len).iter().map(|x| x * size).collect();
        let [x, dy] = [x, random(2, len)].map(|values| get(gpu, &put(gpu, dtype, &values)).iter().map(|&v| v.into()).collect::<Vec<f64>>());
        let [on_x, on_dy] = [&x, &dy].map(|values| put(gpu, dtype, values));
        let bound = epsilon(dtype) + 1e-5;
        // Gradients are checked from the rounded output, as they are computed.
        let check = |what: &str, got: Vec<f32>, want: Vec<f64>| -> Vec<f64> {
            check_close(what, &got, &want, bound);
            got.into_iter().map(f64::from).collect()
        };
        let y = filled(gpu, dtype, len, |y| cuda::softmax_forward(gpu, rows, k, &on_x, y).unwrap());
        let y = check("softmax", y, wanted(len, |y| reference::softmax_forward(rows, k, &x, y)));
        let on_y = put(gpu, dtype, &y);
        let dx = filled(gpu, dtype, len, |dx| cuda::softmax_input_grad(gpu, [rows, k], &on_y, &on_dy, dx).unwrap());
        check("its gradient", dx, wanted(len, |dx| reference::softmax_input_grad([rows, k], &y, &dy, dx)));
        let y = filled(gpu, dtype, len, |y| cuda::log_softmax_forward(gpu, rows, k, &on_x, y).unwrap());
        let y = check("log", y, wanted(len, |y| reference::log_softmax_forward(rows, k, &x, y)));
        let on_y = put(gpu, dtype, &y);
        let dx = filled(gpu, dtype, len, |dx| cuda::log_softmax_input_grad(gpu, [rows, k], &on_y, &on_dy, dx).unwrap());
        check("its gradient", dx, wanted(len, |dx| reference::log_softmax_input_grad([rows, k], &y, &dy, dx)));
    }

    #[test]
    fn losses_agree_with_the_reference(
        rows in 1usize..20,
        k in 1usize..100,
        smoothing in prop_oneof![Just(0.0f32), Just(0.1)],
        temperature in 1.0f32..8.0,
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let len = rows * k;
        let [a, b] = [1, 2].map(|seed| random(seed, len).iter().map(|x| 4.0 * x).collect::<Vec<_>>());
        let targets: Vec<u32> = (0..rows).map(|row| (row * 7 % k) as u32).collect();
        let ([on_a, on_b], on_targets) = ([&a, &b].map(|x| put(gpu, F32, x)), gpu.upload_u32(&targets).unwrap());
        let (scale, on_scale, s, t) = (1.5, put(gpu, F32, &[1.5]), f64::from(smoothing), f64::from(temperature));

        // A result is `factor` times a sum over probabilities and their logarithms, and so is its error.
        let loss = |factor: f64, fill: &dyn Fn(&mut cuda::DeviceBuffer) -> cuda::Result<()>, want: f64| {
            let got = filled(gpu, F32, 1, |loss| fill(loss).unwrap());
            check_close("loss", &got, &[want], 4e-6 * factor);
        };
        let grad = |factor: f64, fill: &dyn Fn(&mut cuda::DeviceBuffer) -> cuda::Result<()>, want: Vec<f64>| {
            let got = filled(gpu, F32, len, |grad| fill(grad).unwrap());
            check_close("gradient", &got, &want, 2e-6 * factor);
        };
        loss(
            1.0,
            &|loss| cuda::cross_entropy_forward(gpu, [rows, k], &on_a, &on_targets, smoothing, loss),
            reference::cross_entropy_forward([rows, k], &a, &targets, s),
        );
        grad(
            1.0,
            &|d| cuda::cross_entropy_input_grad(gpu, [rows, k], &on_a, &on_targets, smoothing, &on_scale, d),
            wanted(len, |d| reference::cross_entropy_input_grad([rows, k], &a, &targets, s, scale, d)),
        );
        loss(
            t * t,
            &|loss| cuda::kl_divergence_forward(gpu, [rows, k], &on_a, &on_b, temperature, loss),
            reference::kl_divergence_forward([rows, k], &a, &b, t),
        );
        grad(
            t * scale,
            &|d| cuda::kl_divergence_input_grad(gpu, [rows, k], &on_a, &on_b, temperature, &on_scale, d),
            wanted(len, |d| reference::kl_divergence_input_grad([rows, k], &a, &b, t, scale, d)),
        );
        loss(1.0, &|loss| cuda::mse_forward(gpu, &on_a, &on_b, loss), reference::mse_forward(&a, &b));
        grad(
            1.0,
            &|d| cuda::mse_input_grad(gpu, &on_a, &on_b, &on_scale, d),
            wanted(len, |d| reference::mse_input_grad(&a, &b, scale, d)),
        );
    }
}

#[test]
fn a_target_beyond_the_classes_gives_nan() {
    let Some(gpu) = device() else { return };
    let (logits, targets) = (put(gpu, F32, &[0.0; 6]), gpu.upload_u32(&[1, 3]).unwrap());
    let scale = put(gpu, F32, &[1.0]);
    let loss = filled(gpu, F32, 1, |loss| {
        cuda::cross_entropy_forward(gpu, [2, 3], &logits, &targets, 0.0, loss).unwrap();
    });
    let grad = filled(gpu, F32, 6, |d| {
        cuda::cross_entropy_input_grad(gpu, [2, 3], &logits, &targets, 0.0, &scale, d).unwrap();
    });
    assert!(
        loss[0].is_nan() && grad[..3].iter().all(|d| d.is_finite()) && grad[3..].iter().all(|d| d.is_nan())
    );
}
