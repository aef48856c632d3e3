//! The gradient of every tape operation against central differences of the reference in f64.

use lopper_engine::geometry::Conv2dOptions;
use lopper_engine::layer::{FixedWindow, Pool, Window};
use lopper_engine::ops::Tail;
use lopper_engine::{Device, Mode, Result, Tape, Tensor, Var};
use lopper_kernels::params::{ACTIVATIONS, Activation, Trans};
use lopper_kernels::reference as oracle;
use lopper_kernels::shapes::{AdaptivePool2d, BatchNorm, Conv2d, GroupNorm, Linear, Matmul, PadShortcut};

/// Returns distinct numbers in (−1, 1), the same on every run.
fn noise(shape: &[usize], seed: u64) -> Tensor {
    let mix =
        |i: u64| (i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1u32 << 23) as f32;
    Tensor::from_fn(shape, |i| mix((i as u64).wrapping_mul(31) ^ seed.wrapping_mul(0x1234_5677)) - 1.0)
}

fn doubles(t: &Tensor) -> Vec<f64> {
    t.data().iter().map(|&x| x.into()).collect()
}

/// Returns the gradient of Σ weights · op(inputs) with respect to each input that is a leaf, the value op(inputs), and
/// the weights.
fn on_tape(
    inputs: &[Tensor],
    is_leaf: impl Fn(usize) -> bool,
    op: &impl Fn(&mut Tape, &[Var]) -> Result<Var>,
) -> (Vec<Option<Tensor>>, Tensor, Tensor) {
    let mut tape = Tape::new(&Device::cpu()).seed(7);
    let mut var = |(i, t): (usize, &Tensor)| {
        if is_leaf(i) { tape.leaf(t.clone()) } else { tape.constant(t.clone()) }
    };
    let vars: Vec<Var> = inputs.iter().enumerate().map(&mut var).collect();
    let y = op(&mut tape, &vars).unwrap();
    let weights = noise(y.shape(), 99);
    let w = tape.constant(weights.clone());
    let weighted = tape.mul(&y, &w).unwrap();
    let loss = tape.sum(&weighted).unwrap();
    let gradients = tape.backward(&loss).unwrap();
    (vars.iter().map(|v| gradients.get(v).cloned()).collect(), y.value().clone(), weights)
}

/// Checks the value and gradients of `op` against `reference`, element by element. Also checks that each gradient is
/// the same if every other input is a constant.
fn check(
    inputs: &[Tensor],
    op: impl Fn(&mut Tape, &[Var]) -> Result<Var>,
    reference: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    const STEP: f64 = 1e-6;
    const TOLERANCE: f64 = 2e-5;
    let (gradients, y, weights) = on_tape(inputs, |_| true, &op);
    let values: Vec<Vec<f64>> = inputs.iter().map(doubles).collect();
    for (i, (&found, expected)) in y.data().iter().zip(reference(&values)).enumerate() {
        assert!((f64::from(found) - expected).abs() < TOLERANCE, "y[{i}]: {found}, not {expected}");
    }
    let loss = |values: &[Vec<f64>]| -> f64 {
        reference(values).iter().zip(doubles(&weights)).map(|(y, w)| y * w).sum()
    };
    for (k, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.as_ref().expect("a leaf that the loss depends on has a gradient");
        assert_eq!(gradient.shape(), inputs[k].shape());
        for (i, &found) in gradient.data().iter().enumerate() {
            let shifted = |delta: f64| {
                let mut values = values.clone();
                values[k][i] += delta;
                loss(&values)
            };
            let expected = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
            let error = (f64::from(found) - expected).abs();
            assert!(error < TOLERANCE * (1.0 + expected.abs()), "input {k}[{i}]: {found}, not {expected}");
        }
        let (alone, ..) = on_tape(inputs, |i| i == k, &op);
        for (i, other) in alone.iter().enumerate() {
            assert_eq!(other.is_some(), i == k, "a constant has no gradient");
        }
        assert!(alone[k].as_ref().unwrap().same_bits(gradient), "only input {k} is a leaf");
    }
}

#[test]
fn conv2d() {
    for (groups, c, o, stride, dilation, bias) in
        [(1, 3, 4, [1, 2], [1, 1], true), (2, 4, 6, [2, 1], [1, 2], false), (3, 3, 3, [1, 1], [1, 1], true)]
    {
        let padding = [1, 2];
        let g = Conv2d {
            n: 2,
            h: 5,
            w: 6,
            c,
            o,
            kh: 3,
            kw: 2,
            stride,
            padding,
            extra_padding: [0; 2],
            dilation,
            groups,
        };
        let mut inputs = vec![noise(&g.x_shape(), 1), noise(&g.w_shape(), 2)];
        inputs.extend(bias.then(|| noise(&[o], 3)));
        check(
            &inputs,
            |tape, v| {
                tape.conv2d(
                    &v[0],
                    &v[1],
                    v.get(2),
                    Conv2dOptions { stride, padding, extra_padding: [0; 2], dilation, groups },
                )
            },
            |v| {
                let mut y = vec![0.0; g.y_len()];
                oracle::conv2d_forward(&g, &v[0], &v[1], v.get(2).map(Vec::as_slice), &mut y);
                y
            },
        );
    }
}

#[test]
fn linear_and_matmul() {
    let g = Linear { n: 3, inputs: 5, outputs: 4 };
    for bias in [true, false] {
        let mut inputs = vec![noise(&[3, 5], 1), noise(&[4, 5], 2)];
        inputs.extend(bias.then(|| noise(&[4], 3)));
        check(
            &inputs,
            |tape, v| tape.linear(&v[0], &v[1], v.get(2)),
            |v| {
                let mut y = vec![0.0; 12];
                oracle::linear_forward(&g, &v[0], &v[1], v.get(2).map(Vec::as_slice), &mut y);
                y
            },
        );
    }
    check(
        &[noise(&[3, 5], 1), noise(&[5, 2], 2)],
        |tape, v| tape.matmul(&v[0], &v[1]),
        |v| {
            let mut y = vec![0.0; 6];
            oracle::gemm(&Matmul::new([Trans::No, Trans::No], [3, 2, 5]), &v[0], &v[1], false, &mut y);
            y
        },
    );
}

#[test]
fn batch_norm() {
    let inputs = [noise(&[2, 3, 2, 3], 1), noise(&[3], 2), noise(&[3], 3)];
    check(
        &inputs,
        |tape, v| Ok(tape.batch_norm_train(&v[0], &v[1], &v[2], 1e-3)?.0),
        |v| {
            let (mut y, mut mean, mut var) = (vec![0.0; 36], [0.0; 3], [0.0; 3]);
            oracle::batch_norm_forward_train(
                &BatchNorm { rows: 12, c: 3, eps: 1e-3 },
                &v[0],
                [&v[1], &v[2]],
                &mut y,
                [&mut mean, &mut var],
            );
            y
        },
    );
    let (mean, var) = (noise(&[3], 4), Tensor::from_vec(&[3], vec![0.5, 1.5, 3.0]).unwrap());
    check(
        &inputs,
        |tape, v| tape.batch_norm_eval(&v[0], &v[1], &v[2], [&mean, &var], 1e-3),
        |v| {
            let (m, s, mut y) = (doubles(&mean), doubles(&var), vec![0.0; 36]);
            oracle::batch_norm_forward_eval(
                &BatchNorm { rows: 12, c: 3, eps: 1e-3 },
                &v[0],
                [&m, &s],
                [&v[1], &v[2]],
                &mut y,
            );
            y
        },
    );
}

#[test]
fn batch_norm_with_a_residual_and_an_activation() {
    let inputs = [noise(&[2, 3, 2, 3], 1), noise(&[3], 2), noise(&[3], 3), noise(&[2, 3, 2, 3], 4)];
    fn tail(v: &[Var]) -> Tail<'_> {
        Tail { residual: Some(&v[3]), activation: Activation::Relu }
    }
    let end = |mut z: Vec<f64>, residual: &[f64]| {
        oracle::add_assign(&mut z, residual);
        let mut y = vec![0.0; z.len()];
        oracle::activation_forward(Activation::Relu, &z, &mut y);
        y
    };
    check(
        &inputs,
        |tape, v| Ok(tape.batch_norm_train_then(&v[0], &v[1], &v[2], 1e-3, tail(v))?.0),
        |v| {
            let (mut y, mut mean, mut var) = (vec![0.0; 36], [0.0; 3], [0.0; 3]);
            oracle::batch_norm_forward_train(
                &BatchNorm { rows: 12, c: 3, eps: 1e-3 },
                &v[0],
                [&v[1], &v[2]],
                &mut y,
                [&mut mean, &mut var],
            );
            end(y, &v[3])
        },
    );
    let (mean, var) = (noise(&[3], 4), Tensor::from_vec(&[3], vec![0.5, 1.5, 3.0]).unwrap());
    check(
        &inputs,
        |tape, v| tape.batch_norm_eval_then(&v[0], &v[1], &v[2], [&mean, &var], 1e-3, tail(v)),
        |v| {
            let (m, s, mut y) = (doubles(&mean), doubles(&var), vec![0.0; 36]);
            oracle::batch_norm_forward_eval(
                &BatchNorm { rows: 12, c: 3, eps: 1e-3 },
                &v[0],
                [&m, &s],
                [&v[1], &v[2]],
                &mut y,
            );
            end(y, &v[3])
        },
    );
}

#[test]
fn group_norm() {
    for groups in [1, 2, 4] {
        let g = GroupNorm { n: 2, pixels: 6, c: 4, groups, eps: 1e-3 };
        check(
            &[noise(&[2, 3, 2, 4], 1), noise(&[4], 2), noise(&[4], 3)],
            |tape, v| tape.group_norm(&v[0], &v[1], &v[2], &g),
            |v| {
                let mut y = vec![0.0; g.len()];
                oracle::group_norm_forward(&g, &v[0], [&v[1], &v[2]], &mut y);
                y
            },
        );
    }
}

#[test]
fn pools() {
    let x = [noise(&[2, 5, 6, 3], 1)];
    for (ceil_mode, count_include_pad) in [(false, true), (true, false)] {
        let window = FixedWindow { ceil_mode, count_include_pad, ..FixedWindow::square(3, 2, 1) };
        let (max, average) = (Pool::max(window), Pool::average(window));
        let g = window.geometry(x[0].shape()).unwrap();
        let run = |f: fn(&lopper_kernels::shapes::Pool2d, &[f64], &mut [f64]), x: &[f64]| {
            let mut y = vec![0.0; g.y_len()];
            f(&g, x, &mut y);
            y
        };
        check(&x, |tape, v| tape.pool2d(&v[0], max), |v| run(oracle::max_pool2d_forward, &v[0]));
        check(&x, |tape, v| tape.pool2d(&v[0], average), |v| run(oracle::avg_pool2d_forward, &v[0]));
    }
    let windows = [Window::Adaptive([2, 4]), Window::Adaptive([7, 7]), Window::Global];
    for window in windows {
        let [oh, ow] = Pool::max(window).output_size().unwrap();
        let g = AdaptivePool2d { n: 2, h: 5, w: 6, c: 3, oh, ow };
        let run = |f: fn(&AdaptivePool2d, &[f64], &mut [f64]), x: &[f64]| {
            let mut y = vec![0.0; g.y_len()];
            f(&g, x, &mut y);
            y
        };
        let avg = |v: &[Vec<f64>]| run(oracle::adaptive_avg_pool2d_forward, &v[0]);
        let max = |v: &[Vec<f64>]| run(oracle::adaptive_max_pool2d_forward, &v[0]);
        check(&x, |tape, v| tape.pool2d(&v[0], Pool::average(window)), avg);
        check(&x, |tape, v| tape.pool2d(&v[0], Pool::max(window)), max);
    }
}

/// Applies `f` to every element.
fn map(x: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
    x.iter().map(|&x| f(x)).collect()
}

/// Applies `f` to every pair of elements.
fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

#[test]
fn activations() {
    // Values reach below 0 and above 6.
    let x = [Tensor::from_fn(&[3, 7], |i| i as f32 - 8.4)];
    for &f in ACTIVATIONS {
        check(&x, |tape, v| tape.activation(&v[0], f), |v| map(&v[0], |x| f.apply(x)));
    }
}

#[test]
fn arithmetic() {
    let two = [noise(&[3, 4], 1), noise(&[3, 4], 2)];
    check(&two, |tape, v| tape.add(&v[0], &v[1]), |v| zip(&v[0], &v[1], |a, b| a + b));
    check(&two, |tape, v| tape.sub(&v[0], &v[1]), |v| zip(&v[0], &v[1], |a, b| a - b));
    check(&two, |tape, v| tape.mul(&v[0], &v[1]), |v| zip(&v[0], &v[1], |a, b| a * b));
    let one = &two[..1];
    check(one, |tape, v| tape.scale(&v[0], -2.5), |v| map(&v[0], |x| -2.5 * x));
    check(one, |tape, v| tape.sum(&v[0]), |v| vec![v[0].iter().sum()]);
    check(one, |tape, v| tape.mean(&v[0]), |v| vec![v[0].iter().sum::<f64>() / 12.0]);
    check(one, |tape, v| tape.reshape(&v[0], &[2, 6]), |v| v[0].clone());
    check(&[noise(&[2, 3, 2, 2], 3)], |tape, v| tape.flatten(&v[0]), |v| v[0].clone());
}

#[test]
fn a_variable_that_is_read_twice_gets_both_gradients() {
    let x = [noise(&[5], 1)];
    check(&x, |tape, v| tape.mul(&v[0], &v[0]), |v| map(&v[0], |x| x * x));
    check(&x, |tape, v| tape.add(&v[0], &v[0]), |v| map(&v[0], |x| 2.0 * x));
    check(&x, |tape, v| tape.concat(&[&v[0], &v[0]]), |v| [v[0].clone(), v[0].clone()].concat());
}

#[test]
fn channels() {
    let parts = [noise(&[2, 2, 3, 2], 1), noise(&[2, 2, 3, 1], 2), noise(&[2, 2, 3, 4], 3)];
    check(
        &parts,
        |tape, v| tape.concat(&[&v[0], &v[1], &v[2]]),
        |v| {
            let mut y = vec![0.0; 12 * 7];
            oracle::concat_forward(12, &[(&v[0], 2), (&v[1], 1), (&v[2], 4)], &mut y);
            y
        },
    );
    let g = PadShortcut { n: 2, h: 5, w: 4, c: 3, stride: 2, before: 1, after: 2 };
    check(
        &[noise(&[2, 5, 4, 3], 1)],
        |tape, v| tape.pad_shortcut(&v[0], 2, 1, 2),
        |v| {
            let mut y = vec![0.0; g.y_len()];
            oracle::pad_shortcut_forward(&g, &v[0], &mut y);
            y
        },
    );
}

#[test]
fn dropout() {
    let dropped = |x: &Tensor, mode| {
        let mut tape = Tape::no_grad(&Device::cpu()).seed(7);
        let x = tape.constant(x.clone());
        tape.dropout(&x, 0.4, mode).unwrap().value().clone()
    };
    // The elements that the seed of `on_tape` keeps, times 1/(1 − p).
    let kept = dropped(&Tensor::full(&[200], 1.0), Mode::Train);
    let zeros = kept.data().iter().filter(|&&k| k == 0.0).count();
    assert!((50..110).contains(&zeros), "{zeros} of 200 dropped at p = 0.4");
    let x = noise(&[200], 1);
    let expected = |v: &[Vec<f64>]| zip(&v[0], &doubles(&kept), |x, k| x * k);
    check(std::slice::from_ref(&x), |tape, v| tape.dropout(&v[0], 0.4, Mode::Train), expected);
    assert!(dropped(&x, Mode::Eval).same_bits(&x));
}

#[test]
fn softmax() {
    let x = [noise(&[3, 5], 1)];
    let run = |f: fn(usize, usize, &[f64], &mut [f64]), x: &[f64]| {
        let mut y = vec![0.0; 15];
        f(3, 5, x, &mut y);
        y
    };
    check(&x, |tape, v| tape.softmax(&v[0]), |v| run(oracle::softmax_forward, &v[0]));
    check(&x, |tape, v| tape.log_softmax(&v[0]), |v| run(oracle::log_softmax_forward, &v[0]));
}

#[test]
fn losses() {
    let logits = [noise(&[4, 5], 1)];
    let targets = [1, 4, 0, 4];
    for smoothing in [0.0f32, 0.1] {
        check(
            &logits,
            |tape, v| tape.cross_entropy(&v[0], &targets, smoothing),
            |v| vec![oracle::cross_entropy_forward([4, 5], &v[0], &targets, smoothing.into())],
        );
    }
    let teacher = noise(&[4, 5], 2);
    for temperature in [1.0f32, 4.0] {
        check(
            &logits,
            |tape, v| tape.kl_divergence(&v[0], &teacher, temperature),
            |v| vec![oracle::kl_divergence_forward([4, 5], &v[0], &doubles(&teacher), temperature.into())],
        );
    }
    check(
        &[noise(&[4, 5], 1), noise(&[4, 5], 2)],
        |tape, v| tape.mse(&v[0], &v[1]),
        |v| vec![oracle::mse_forward(&v[0], &v[1])],
    );
}
