//! Elementwise kernels and dropout.

use crate::support::{check_exact, filled, integers, narrow, on_each_isa, random};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::params::{ACTIVATIONS, Activation, Saved};
use lopper_kernels::reference;
use proptest::prelude::*;

type Zip<T> = (fn(&Cpu, &[f32], &[f32], &mut [f32]), fn(&[T], &[T], &mut [T]));

const ZIPS: [Zip<f32>; 2] =
    [(cpu::add_forward, reference::add_forward), (cpu::mul_forward, reference::mul_forward)];

/// Lengths around the edges of vectors and of the chunks that threads share.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..70, 16_300usize..16_500, 40_000usize..40_100]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The formulas have no fused multiply-add, so the results are bit-identical to the reference in `f32`.
    #[test]
    fn bit_identical_to_the_reference(len in length(), seed in 0u64..1000, s in -2f32..2.0) {
        // The factor 9 puts values on both sides of 0 and of 6.
        let [a, b] = [seed, seed + 1].map(|s| narrow(&random(s, len)).iter().map(|x| 9.0 * x).collect::<Vec<_>>());
        for &f in ACTIVATIONS {
            check_exact(
                |cpu| filled(len, |y| cpu::activation_forward(cpu, f, &a, y)),
                &filled(len, |y| reference::activation_forward(f, &a, y)),
            );
            check_exact(
                |cpu| filled(len, |dx| cpu::activation_input_grad(cpu, f, &a, &b, dx)),
                &filled(len, |dx| reference::activation_input_grad(f, &a, &b, dx)),
            );
        }
        for (kernel, specified) in ZIPS {
            check_exact(|cpu| filled(len, |y| kernel(cpu, &a, &b, y)), &filled(len, |y| specified(&a, &b, y)));
        }
        check_exact(|cpu| filled(len, |y| cpu::scale(cpu, s, &a, y)), &filled(len, |y| reference::scale(s, &a, y)));
        let mut sum = a.clone();
        reference::add_assign(&mut sum, &b);
        check_exact(|cpu| { let mut y = a.clone(); cpu::add_assign(cpu, &mut y, &b); y }, &sum);
    }

    #[test]
    fn axpy_of_integers_is_exact(len in length(), seed in 0u64..1000, s in -8i32..8) {
        let (x, mut y) = (narrow(&integers(seed, len)), narrow(&integers(seed + 1, len)));
        let start = y.clone();
        reference::axpy(s as f32, &x, &mut y);
        check_exact(|cpu| { let mut y = start.clone(); cpu::axpy(cpu, s as f32, &x, &mut y); y }, &y);
    }

    #[test]
    fn dropout_keeps_the_same_elements_as_the_reference(len in length(), seed in any::<u64>(), p in 0f32..1.0) {
        let x = narrow(&random(1, len));
        check_exact(
            |cpu| filled(len, |y| cpu::dropout(cpu, p, seed, &x, y)),
            &filled(len, |y| reference::dropout(p, seed, &x, y)),
        );
    }
}

#[test]
fn nan_is_propagated() {
    let x = [f32::NAN; 33];
    for &f in ACTIVATIONS {
        for (isa, y) in on_each_isa(|cpu| filled(33, |y| cpu::activation_forward(cpu, f, &x, y))) {
            assert!(y.iter().all(|y| y.is_nan()), "{isa}, {}", f.name());
        }
    }
}

/// Returns `1 / (1 + e⁻ˣ)`.
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Returns `Φ(x)`, by a series for the middle and asymptotically in the tails.
fn normal_cdf(x: f64) -> f64 {
    // Simpson's rule on the density, whose step is far below its scale.
    let (steps, density) = (20_000, |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt());
    let (low, step) = (-14.0, (x.clamp(-13.9, 13.9) + 14.0) / steps as f64);
    let weight = |i: i32| match i {
        0 => 1.0,
        i if i == steps => 1.0,
        i => f64::from(2 + 2 * (i % 2)),
    };
    (0..=steps).map(|i| weight(i) * density(low + f64::from(i) * step)).sum::<f64>() * step / 3.0
}

/// Returns `½ (1 + tanh(√(2/π) (x + 0.044715 x³)))` and its derivative.
fn approximate_cdf(x: f64) -> [f64; 2] {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let t = (root * (x + 0.044_715 * x * x * x)).tanh();
    [0.5 * (1.0 + t), 0.5 * (1.0 - t * t) * root * (1.0 + 3.0 * 0.044_715 * x * x)]
}

/// An activation's value and derivative.
type Definition = (Activation, fn(f64) -> f64, fn(f64) -> f64);

const DEFINITIONS: &[Definition] = &[
    (Activation::Sigmoid, sigmoid, |x| sigmoid(x) * sigmoid(-x)),
    (Activation::Silu, |x| x * sigmoid(x), |x| sigmoid(x) + x * sigmoid(x) * sigmoid(-x)),
    (
        Activation::HardSigmoid,
        |x| ((x + 3.0) / 6.0).clamp(0.0, 1.0),
        |x| if x.abs() < 3.0 { 1.0 / 6.0 } else { 0.0 },
    ),
    (
        Activation::HardSwish,
        |x| x * ((x + 3.0) / 6.0).clamp(0.0, 1.0),
        |x| if x.abs() < 3.0 { x / 3.0 + 0.5 } else { f64::from(u8::from(x > 0.0)) },
    ),
    (Activation::Tanh, f64::tanh, |x| 1.0 - x.tanh().powi(2)),
    (
        Activation::Elu { alpha: 1.5 },
        |x| if x > 0.0 { x } else { 1.5 * x.exp_m1() },
        |x| if x > 0.0 { 1.0 } else { 1.5 * x.exp() },
    ),
    (
        Activation::LeakyRelu { slope: 0.125 },
        |x| if x > 0.0 { x } else { 0.125 * x },
        |x| if x > 0.0 { 1.0 } else { 0.125 },
    ),
    (
        Activation::Gelu,
        |x| x * normal_cdf(x),
        |x| normal_cdf(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt(),
    ),
    (
        Activation::GeluTanh,
        |x| x * approximate_cdf(x)[0],
        |x| approximate_cdf(x)[0] + x * approximate_cdf(x)[1],
    ),
];

/// The reference shares its formulas with the kernels, so both are compared with the definitions: values to a few units
/// in the last place, or of the argument's where a tail is a difference; derivatives to a few units of 1.
#[test]
fn activations_follow_their_definitions() {
    let smooth = |f: &&Activation| f.bounds().is_none();
    let defined: Vec<&str> = DEFINITIONS.iter().map(|(f, ..)| f.name()).collect();
    assert!(ACTIVATIONS.iter().filter(smooth).all(|f| defined.contains(&f.name())), "{defined:?}");
    let x: Vec<f32> = (-400..=400).map(|i| i as f32 / 20.0).chain([-90.0, -60.0, 60.0, 90.0]).collect();
    let (epsilon, ones) = (f64::from(f32::EPSILON), vec![1.0; x.len()]);
    for &(f, value, derivative) in DEFINITIONS {
        let values: Vec<f64> = x.iter().map(|&x| value(x.into())).collect();
        let derivatives: Vec<f64> = x.iter().map(|&x| derivative(x.into())).collect();
        for (isa, y) in on_each_isa(|cpu| filled(x.len(), |y| cpu::activation_forward(cpu, f, &x, y))) {
            let saved = if f.saved() == Saved::Input { &x } else { &y };
            let dx = filled(x.len(), |dx| {
                cpu::activation_input_grad(&Cpu::detect(), f, saved, &ones, dx);
            });
            for i in 0..x.len() {
                let (x, y, dx) = (f64::from(x[i]), f64::from(y[i]), f64::from(dx[i]));
                // Below −87, the exponential is larger than any float; products of tails lose the exponent's digits.
                let limit = 16.0 * epsilon * values[i].abs().max(1e-3 * x.abs().min(1.0)) + 1e-35;
                let error = (y - values[i]).abs();
                assert!(error <= limit, "{isa} {} of {x}: {y}, expected {}", f.name(), values[i]);
                let error = (dx - derivatives[i]).abs();
                assert!(
                    error <= 12.0 * epsilon,
                    "{isa} derivative of {} at {x}: {dx}, expected {}",
                    f.name(),
                    derivatives[i]
                );
            }
        }
    }
}

#[test]
fn an_infinite_output_passes_the_gradient_of_relu() {
    let (y, dy) = ([0.0, f32::MIN_POSITIVE, f32::INFINITY], [1.0, 2.0, 3.0]);
    for (isa, dx) in
        on_each_isa(|cpu| filled(3, |dx| cpu::activation_input_grad(cpu, Activation::Relu, &y, &dy, dx)))
    {
        assert_eq!(dx, [0.0, 2.0, 3.0], "{isa}");
    }
}

#[test]
fn dropout_keeps_its_rate_and_the_mean() {
    let (n, x) = (100_000, vec![1.0; 100_000]);
    let cpu = Cpu::detect();
    for p in [0.1f32, 0.5, 0.9] {
        let y = filled(n, |y| cpu::dropout(&cpu, p, 42, &x, y));
        let kept = y.iter().filter(|&&y| y != 0.0).count() as f64;
        let (rate, deviation) = (1.0 - f64::from(p), (f64::from(p) * (1.0 - f64::from(p)) / n as f64).sqrt());
        assert!((kept / n as f64 - rate).abs() < 4.0 * deviation, "p = {p}: kept {kept} of {n}");
        assert!(y.iter().all(|&y| y == 0.0 || y == 1.0 / (1.0 - p)));
        assert_ne!(y, filled(n, |y| cpu::dropout(&cpu, p, 43, &x, y)), "another seed gives another mask");
    }
    assert_eq!(filled(n, |y| cpu::dropout(&cpu, 0.0, 1, &x, y)), x);
    assert_eq!(filled(n, |y| cpu::dropout(&cpu, 1.0, 1, &x, y)), vec![0.0; n]);
}
