//! Elementwise operations in every type, against the reference and the type's rounding.

use crate::support::device;
use crate::values::{FLOATS, filled, get, integers, narrow, put, random, round};
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer, Result};
use lopper_kernels::params::{ACTIVATIONS, Activation, Dtype};
use lopper_kernels::reference;

const LENGTHS: [usize; 8] = [0, 1, 3, 4, 7, 8, 1000, 4103];

type Binary = fn(&Cuda, &DeviceBuffer, &DeviceBuffer, &mut DeviceBuffer) -> Result<()>;

/// Checks `op`, which writes its third buffer, against `want`, computed in f32 and rounded to the type.
fn check(what: &str, op: Binary, want: fn(f32, f32) -> f32) {
    let Some(gpu) = device() else { return };
    for (dtype, len) in FLOATS.into_iter().flat_map(|dtype| LENGTHS.map(|len| (dtype, len))) {
        let [a, b] = [1, 2].map(|seed| random(seed, len).iter().map(|x| 8.0 * x).collect::<Vec<_>>());
        let [on_a, on_b] = [&a, &b].map(|x| put(gpu, dtype, x));
        let got = filled(gpu, dtype, len, |y| op(gpu, &on_a, &on_b, y).unwrap());
        let want: Vec<f32> =
            a.iter().zip(&b).map(|(&a, &b)| round(dtype, want(a as f32, b as f32).into()) as f32).collect();
        assert_eq!(got, want, "{what} of {len} {dtype:?}");
    }
}

#[test]
fn each_agrees_with_its_formula() {
    check("add", cuda::add_forward, |a, b| a + b);
    check("mul", cuda::mul_forward, |a, b| a * b);
    check("scale", |gpu, a, _, y| cuda::scale(gpu, 0.5, a, y), |a, _| 0.5 * a);
    let add: Binary = |gpu, a, b, y| gpu.copy(a, y).and_then(|()| cuda::add_assign(gpu, y, b));
    check("add_assign", add, |a, b| a + b);
    let axpy: Binary = |gpu, a, b, y| gpu.copy(a, y).and_then(|()| cuda::axpy(gpu, -0.25, b, y));
    check("axpy", axpy, |a, b| a - 0.25 * b);
}

/// Clamps are exact. The others round in f32 and then to the type: an error of 2⁻²⁰ and of half a unit.
#[test]
fn activations_agree_with_the_reference() {
    let Some(gpu) = device() else { return };
    let cases = ACTIVATIONS.iter().flat_map(|&f| FLOATS.map(|dtype| (f, dtype)));
    for ((f, dtype), len) in cases.flat_map(|case| LENGTHS.map(|len| (case, len))) {
        let [a, b] = [1, 2].map(|seed| random(seed, len).iter().map(|x| 8.0 * x).collect::<Vec<_>>());
        let [on_a, on_b] = [&a, &b].map(|x| put(gpu, dtype, x));
        let [a, b] = [&a, &b].map(|x| x.iter().map(|&x| round(dtype, x)).collect::<Vec<f64>>());
        let (mut y, mut dx) = (vec![0.0; len], vec![0.0; len]);
        reference::activation_forward(f, &a, &mut y);
        reference::activation_input_grad(f, &a, &b, &mut dx);
        let got_y = filled(gpu, dtype, len, |y| cuda::activation_forward(gpu, f, &on_a, y).unwrap());
        let got_dx =
            filled(gpu, dtype, len, |dx| cuda::activation_input_grad(gpu, f, &on_a, &on_b, dx).unwrap());
        let half_unit = if dtype == Dtype::F32 { 0.0 } else { f64::from(2f32.powi(-8)) };
        let tolerance = if f.bounds().is_some() { 0.0 } else { half_unit + f64::from(2f32.powi(-20)) };
        for (got, want) in got_y.iter().zip(&y).chain(got_dx.iter().zip(&dx)) {
            let error = (f64::from(*got) - want).abs();
            let limit = tolerance * want.abs().max(1.0);
            assert!(error <= limit, "{} of {len} {dtype:?}: {got}, expected {want}", f.name());
        }
    }
}

#[test]
fn a_nan_stays_a_nan() {
    let Some(gpu) = device() else { return };
    for (dtype, &f) in FLOATS.into_iter().flat_map(|dtype| ACTIVATIONS.iter().map(move |f| (dtype, f))) {
        let x = put(gpu, dtype, &[f64::NAN; 9]);
        let y = filled(gpu, dtype, 9, |y| cuda::activation_forward(gpu, f, &x, y).unwrap());
        assert!(y.iter().all(|y| y.is_nan()), "{}", f.name());
    }
}

#[test]
fn an_infinite_output_passes_the_gradient_of_relu() {
    let Some(gpu) = device() else { return };
    for dtype in FLOATS {
        let (y, dy) = (put(gpu, dtype, &[0.0, 0.5, f64::INFINITY]), put(gpu, dtype, &[1.0, 2.0, 3.0]));
        let dx = filled(gpu, dtype, 3, |dx| {
            cuda::activation_input_grad(gpu, Activation::Relu, &y, &dy, dx).unwrap()
        });
        assert_eq!(dx, [0.0, 2.0, 3.0]);
    }
}

#[test]
fn conversion_rounds_to_nearest() {
    let Some(gpu) = device() else { return };
    let x: Vec<f64> =
        random(7, 1003).iter().zip(random(8, 1003)).map(|(a, b)| a * (1.0 + b / 300.0)).collect();
    let x: Vec<f64> = x.iter().map(|&x| round(Dtype::F32, x)).collect();
    for (from, to) in FLOATS.into_iter().flat_map(|from| FLOATS.map(|to| (from, to))) {
        let on = put(gpu, from, &x);
        let got = filled(gpu, to, x.len(), |y| cuda::convert(gpu, &on, y).unwrap());
        let want: Vec<f32> = x.iter().map(|&x| round(to, round(from, x)) as f32).collect();
        assert_eq!(got, want, "{from:?} to {to:?}");
    }
    assert!(get(gpu, &put(gpu, Dtype::F16, &[1e6]))[0].is_infinite());
}

#[test]
fn dropout_keeps_the_same_elements_as_the_reference() {
    let Some(gpu) = device() else { return };
    for (dtype, len) in FLOATS.into_iter().flat_map(|dtype| LENGTHS.map(|len| (dtype, len))) {
        let x: Vec<f64> = integers(3, len).iter().map(|x| x + 8.0).collect();
        let on = put(gpu, dtype, &x);
        let got = filled(gpu, dtype, len, |y| cuda::dropout(gpu, 0.3, 99, &on, y).unwrap());
        let mut want = vec![0.0; len];
        reference::dropout(0.3, 99, &narrow(&x), &mut want);
        let want: Vec<f32> = want.iter().map(|&y| round(dtype, y.into()) as f32).collect();
        assert_eq!(got, want, "{len} {dtype:?}");
    }
}
