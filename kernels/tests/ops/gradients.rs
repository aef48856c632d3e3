//! Compares each gradient of the reference with central differences, in `f64`.

use crate::support::{filled, integers, random};
use lopper_kernels::params::{ACTIVATIONS, Saved};
use lopper_kernels::reference::*;
use lopper_kernels::shapes::{
    AdaptivePool2d, BatchNorm, Conv2d, Coordinates, Gate, GroupNorm, LayerNorm, Linear, PadShortcut, Pool2d,
    Resize, ResizeMode, Rounding,
};

/// Checks that `grad` is the gradient of `loss` at `x`.
fn check(what: &str, x: &[f64], grad: &[f64], loss: impl Fn(&[f64]) -> f64) {
    const STEP: f64 = 1e-5;
    assert_eq!(x.len(), grad.len());
    assert!(grad.iter().any(|&g| g != 0.0), "{what}: the gradient is zero everywhere and proves nothing");
    let mut x = x.to_vec();
    for i in 0..x.len() {
        let center = x[i];
        let mut at = |value| {
            x[i] = value;
            loss(&x)
        };
        let slope = (at(center + STEP) - at(center - STEP)) / (2.0 * STEP);
        at(center);
        assert!(
            (slope - grad[i]).abs() <= 1e-7 * (1.0 + slope.abs()),
            "{what}: element {i}: {slope} by differences, {} by formula",
            grad[i]
        );
    }
}

/// Computes `⟨dy, y⟩`, the loss whose gradient with respect to `y` is `dy`.
fn dot(dy: &[f64], y: &[f64]) -> f64 {
    dy.iter().zip(y).map(|(a, b)| a * b).sum()
}

#[test]
fn conv2d() {
    let base = Conv2d::square([2, 5, 6, 4], 6, 3, 1, 1);
    for g in [
        base,
        Conv2d { stride: [2, 1], padding: [2, 0], ..base },
        Conv2d { dilation: [2, 1], groups: 2, ..base },
        Conv2d { o: 8, kh: 1, kw: 2, groups: 4, ..base },
    ] {
        g.check().expect("a valid geometry");
        let (x, w, b) = (random(1, g.x_len()), random(2, g.w_len()), random(3, g.o));
        let dy = random(4, g.y_len());
        let loss = |x: &[f64], w: &[f64], b: &[f64]| {
            dot(&dy, &filled(g.y_len(), |y| conv2d_forward(&g, x, w, Some(b), y)))
        };
        let dx = filled(x.len(), |dx| conv2d_input_grad(&g, &dy, &w, dx));
        let dw = filled(w.len(), |dw| conv2d_weight_grad(&g, &x, &dy, dw));
        let db = filled(b.len(), |db| sum_rows(g.y_len() / g.o, g.o, &dy, db));
        check("conv2d dx", &x, &dx, |x| loss(x, &w, &b));
        check("conv2d dw", &w, &dw, |w| loss(&x, w, &b));
        check("conv2d db", &b, &db, |b| loss(&x, &w, b));
    }
}

#[test]
fn linear() {
    let g = Linear { n: 3, inputs: 5, outputs: 4 };
    let (x, w, b, dy) = (random(1, 15), random(2, 20), random(3, 4), random(4, 12));
    let loss =
        |x: &[f64], w: &[f64], b: &[f64]| dot(&dy, &filled(12, |y| linear_forward(&g, x, w, Some(b), y)));
    check("linear dx", &x, &filled(15, |dx| linear_input_grad(&g, &dy, &w, dx)), |x| loss(x, &w, &b));
    check("linear dw", &w, &filled(20, |dw| linear_weight_grad(&g, &x, &dy, dw)), |w| loss(&x, w, &b));
    check("linear db", &b, &filled(4, |db| sum_rows(3, 4, &dy, db)), |b| loss(&x, &w, b));
}

#[test]
fn batch_norm_with_batch_statistics() {
    let g = BatchNorm { rows: 7, c: 3, eps: 1e-3 };
    let (x, gamma, beta, dy) = (random(1, 21), random(2, 3), random(3, 3), random(4, 21));
    let forward = |x: &[f64], gamma: &[f64], beta: &[f64]| {
        let (mut y, mut mean, mut var) = (vec![0.0; 21], vec![0.0; 3], vec![0.0; 3]);
        batch_norm_forward_train(&g, x, [gamma, beta], &mut y, [&mut mean, &mut var]);
        (y, mean, var)
    };
    let (_, mean, var) = forward(&x, &gamma, &beta);
    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; 21], vec![0.0; 3], vec![0.0; 3]);
    batch_norm_backward(&g, &x, [&mean, &var], &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
    check("batch norm dx", &x, &dx, |x| dot(&dy, &forward(x, &gamma, &beta).0));
    check("batch norm dgamma", &gamma, &dgamma, |gamma| dot(&dy, &forward(&x, gamma, &beta).0));
    check("batch norm dbeta", &beta, &dbeta, |beta| dot(&dy, &forward(&x, &gamma, beta).0));
}

#[test]
fn batch_norm_with_given_statistics() {
    let g = BatchNorm { rows: 4, c: 3, eps: 1e-3 };
    let (x, gamma, beta, dy, mean) = (random(1, 12), random(2, 3), random(3, 3), random(4, 12), random(5, 3));
    let var = [0.3, 1.0, 2.5];
    let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| {
        dot(&dy, &filled(12, |y| batch_norm_forward_eval(&g, x, [&mean, &var], [gamma, beta], y)))
    };
    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; 12], vec![0.0; 3], vec![0.0; 3]);
    batch_norm_eval_backward(&g, &x, [&mean, &var], &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
    check("eval batch norm dx", &x, &dx, |x| loss(x, &gamma, &beta));
    check("eval batch norm dgamma", &gamma, &dgamma, |gamma| loss(&x, gamma, &beta));
    check("eval batch norm dbeta", &beta, &dbeta, |beta| loss(&x, &gamma, beta));
}

#[test]
fn pools() {
    let base = Pool2d::square([2, 7, 6, 3], 3, 2);
    for g in [
        base,
        Pool2d { padding: [1, 1], ..base },
        Pool2d { padding: [1, 1], count_include_pad: false, ceil_mode: true, ..base },
        Pool2d { stride: [1, 3], padding: [0, 1], ceil_mode: true, ..base },
    ] {
        g.check().expect("a valid geometry");
        let (x, dy) = (random(1, g.x_len()), random(2, g.y_len()));
        let dx = filled(x.len(), |dx| max_pool2d_input_grad(&g, &x, &dy, dx));
        check("max pool", &x, &dx, |x| dot(&dy, &filled(dy.len(), |y| max_pool2d_forward(&g, x, y))));
        let dx = filled(x.len(), |dx| avg_pool2d_input_grad(&g, &dy, dx));
        check("average pool", &x, &dx, |x| dot(&dy, &filled(dy.len(), |y| avg_pool2d_forward(&g, x, y))));
    }
}

#[test]
fn adaptive_pools() {
    for (oh, ow) in [(1, 1), (3, 4), (7, 7)] {
        let g = AdaptivePool2d { n: 2, h: 5, w: 4, c: 3, oh, ow };
        let (x, dy) = (random(1, g.x_len()), random(2, g.y_len()));
        let dx = filled(x.len(), |dx| adaptive_max_pool2d_input_grad(&g, &x, &dy, dx));
        check("adaptive max", &x, &dx, |x| {
            dot(&dy, &filled(dy.len(), |y| adaptive_max_pool2d_forward(&g, x, y)))
        });
        let dx = filled(x.len(), |dx| adaptive_avg_pool2d_input_grad(&g, &dy, dx));
        check("adaptive average", &x, &dx, |x| {
            dot(&dy, &filled(dy.len(), |y| adaptive_avg_pool2d_forward(&g, x, y)))
        });
    }
}

#[test]
fn activations_away_from_their_kinks() {
    // Integers plus ½: at least ½ away from the kinks, which are at integers.
    let x: Vec<f64> = integers(1, 60).into_iter().map(|x| x + 0.5).collect();
    let dy = random(2, 60);
    for &f in ACTIVATIONS {
        let forward = |x: &[f64]| filled(60, |y| activation_forward(f, x, y));
        let y = forward(&x);
        let saved = if f.saved() == Saved::Input { &x } else { &y };
        let dx = filled(60, |dx| activation_input_grad(f, saved, &dy, dx));
        check(f.name(), &x, &dx, |x| dot(&dy, &forward(x)));
    }
}

#[test]
fn additions_and_products() {
    let (a, b, dy) = (random(1, 9), random(2, 9), random(3, 9));
    check("add", &a, &dy, |a| dot(&dy, &filled(9, |y| add_forward(a, &b, y))));
    let da = filled(9, |da| mul_forward(&dy, &b, da));
    check("mul", &a, &da, |a| dot(&dy, &filled(9, |y| mul_forward(a, &b, y))));
    let da = filled(9, |da| scale(-1.7, &dy, da));
    check("scale", &a, &da, |a| dot(&dy, &filled(9, |y| scale(-1.7, a, y))));
}

#[test]
fn concatenation_and_shortcut() {
    let (a, b, dy) = (random(1, 6), random(2, 9), random(3, 15));
    let loss = |a: &[f64], b: &[f64]| dot(&dy, &filled(15, |y| concat_forward(3, &[(a, 2), (b, 3)], y)));
    let (mut da, mut db) = (vec![0.0; 6], vec![0.0; 9]);
    split_channels(3, &dy, &mut [(&mut da, 2), (&mut db, 3)]);
    check("concat, first part", &a, &da, |a| loss(a, &b));
    check("concat, second part", &b, &db, |b| loss(&a, b));

    let g = PadShortcut { n: 2, h: 5, w: 4, c: 3, stride: 2, before: 1, after: 2 };
    let (x, dy) = (random(1, g.x_len()), random(2, g.y_len()));
    let dx = filled(x.len(), |dx| pad_shortcut_input_grad(&g, &dy, dx));
    check("pad shortcut", &x, &dx, |x| dot(&dy, &filled(dy.len(), |y| pad_shortcut_forward(&g, x, y))));
}

#[test]
fn gates() {
    let g = Gate { n: 2, pixels: 5, c: 3 };
    let (x, gate, dy) = (random(1, 30), random(2, 6), random(3, 30));
    let loss = |x: &[f64], gate: &[f64]| dot(&dy, &filled(30, |y| gate_forward(&g, x, gate, y)));
    check("gate dx", &x, &filled(30, |dx| gate_forward(&g, &dy, &gate, dx)), |x| loss(x, &gate));
    check("gate dgate", &gate, &filled(6, |dgate| gate_grad(&g, &x, &dy, dgate)), |gate| loss(&x, gate));
}

#[test]
fn gatherings() {
    let (channels, x, dy) = ([3, 0, 3, 1], random(1, 20), random(2, 20));
    let dx = filled(20, |dx| gather_input_grad(4, &channels, &dy, dx));
    check("gather", &x, &dx, |x| dot(&dy, &filled(20, |y| gather_forward(4, &channels, x, y))));
}

#[test]
fn group_norms() {
    // Instance norm is the case of one channel a group.
    for groups in [1, 2, 6] {
        let g = GroupNorm { n: 2, pixels: 3, c: 6, groups, eps: 1e-3 };
        let (x, gamma, beta, dy) = (random(1, 36), random(2, 6), random(3, 6), random(4, 36));
        let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| {
            dot(&dy, &filled(36, |y| group_norm_forward(&g, x, [gamma, beta], y)))
        };
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; 36], vec![0.0; 6], vec![0.0; 6]);
        group_norm_backward(&g, &x, &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
        check("group norm dx", &x, &dx, |x| loss(x, &gamma, &beta));
        check("group norm dgamma", &gamma, &dgamma, |gamma| loss(&x, gamma, &beta));
        check("group norm dbeta", &beta, &dbeta, |beta| loss(&x, &gamma, beta));
    }
}

#[test]
fn layer_norms() {
    let whole = LayerNorm::whole(4, 5, 1e-3);
    for g in [whole, LayerNorm { width: 7, sum: 1.0, squares: 0.75, ..whole }] {
        let (x, gamma, beta, dy) = (random(1, 20), random(2, 5), random(3, 5), random(4, 20));
        let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| {
            dot(&dy, &filled(20, |y| layer_norm_forward(&g, x, [gamma, beta], y)))
        };
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; 20], vec![0.0; 5], vec![0.0; 5]);
        layer_norm_backward(&g, &x, &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
        check("layer norm dx", &x, &dx, |x| loss(x, &gamma, &beta));
        check("layer norm dgamma", &gamma, &dgamma, |gamma| loss(&x, gamma, &beta));
        check("layer norm dbeta", &beta, &dbeta, |beta| loss(&x, &gamma, beta));
    }
}

#[test]
fn slopes_of_channels() {
    let (x, slope, dy) = (random(1, 24), random(2, 3), random(3, 24));
    let loss = |x: &[f64], slope: &[f64]| dot(&dy, &filled(24, |y| prelu_forward(3, x, slope, y)));
    let (mut dx, mut dslope) = (vec![0.0; 24], vec![0.0; 3]);
    prelu_backward(3, &x, &slope, &dy, &mut dx, &mut dslope);
    check("prelu dx", &x, &dx, |x| loss(x, &slope));
    check("prelu dslope", &slope, &dslope, |slope| loss(&x, slope));
}

#[test]
fn resizes() {
    for (oh, ow, mode) in [
        (8, 3, ResizeMode::Linear(Coordinates::HalfPixel)),
        (7, 6, ResizeMode::Linear(Coordinates::AlignCorners)),
        (6, 9, ResizeMode::Nearest(Coordinates::Asymmetric, Rounding::Floor)),
        (7, 5, ResizeMode::Stuff([2, 2])),
    ] {
        let g = Resize { n: 2, h: 4, w: 3, c: 2, oh, ow, mode };
        g.check().expect("a valid geometry");
        let (x, dy) = (random(1, g.x_len()), random(2, g.y_len()));
        let dx = filled(x.len(), |dx| resize_input_grad(&g, &dy, dx));
        check("resize", &x, &dx, |x| dot(&dy, &filled(dy.len(), |y| resize_forward(&g, x, y))));
    }
}

#[test]
fn dropout_is_its_own_gradient() {
    let (x, dy) = (random(1, 50), random(2, 50));
    let dx = filled(50, |dx| dropout(0.3, 9, &dy, dx));
    check("dropout", &x, &dx, |x| dot(&dy, &filled(50, |y| dropout(0.3, 9, x, y))));
}

#[test]
fn losses() {
    let (rows, k, upstream) = (4, 5, 0.7);
    let (x, other) = (random(1, rows * k), random(2, rows * k));
    let targets = [0, 3, 4, 3];
    for smoothing in [0.0, 0.1] {
        let dx =
            filled(x.len(), |dx| cross_entropy_input_grad([rows, k], &x, &targets, smoothing, upstream, dx));
        check("cross entropy", &x, &dx, |x| {
            upstream * cross_entropy_forward([rows, k], x, &targets, smoothing)
        });
    }
    for temperature in [1.0, 4.0] {
        let dx =
            filled(x.len(), |dx| kl_divergence_input_grad([rows, k], &x, &other, temperature, upstream, dx));
        check("KL divergence", &x, &dx, |x| {
            upstream * kl_divergence_forward([rows, k], x, &other, temperature)
        });
    }
    let dx = filled(x.len(), |dx| mse_input_grad(&x, &other, upstream, dx));
    check("mean squared error", &x, &dx, |x| upstream * mse_forward(x, &other));
}
