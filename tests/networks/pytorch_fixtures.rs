//! The CPU kernels against values that PyTorch computed in `f64`: outputs, all gradients, optimizer traces.

use crate::support::fixtures::{Case, Fixture};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::params::{Activation, Adam, Normalized, Sgd, Statistics};
use lopper_kernels::shapes::{AdaptivePool2d, BatchNorm, Conv2d, Linear, Pool2d};

#[test]
fn all_cases() {
    let cpu = Cpu::detect();
    let cases = Case::all();
    for case in &cases {
        let t = case.tensors();
        match case.op.as_str() {
            "conv2d" => conv2d(&cpu, case, &t),
            "linear" => linear(&cpu, case, &t),
            "batch_norm" => batch_norm(&cpu, case, &t),
            "max_pool2d" | "avg_pool2d" => pool(&cpu, case, &t),
            "adaptive_avg_pool2d" | "adaptive_max_pool2d" => adaptive_pool(&cpu, case, &t),
            "cross_entropy" => cross_entropy(&cpu, case, &t),
            "soft_target" => soft_target(&cpu, case, &t),
            "optimizer" if case.attrs.get("betas").is_some() => adam(&cpu, case, &t),
            "optimizer" => sgd(&cpu, case, &t),
            op => panic!("{}: no test for {op}", case.name),
        }
    }
    assert_eq!(cases.len(), 36);
}

/// Checks `got` against tensor `name`, to `1e-6 · √terms` of the tensor's largest value: `terms` is how many products
/// an element adds up.
fn check(case: &Case, t: &Fixture, name: &str, terms: usize, got: &[f32]) {
    let want = t.values(name);
    assert_eq!(got.len(), want.len(), "{}: {name}", case.name);
    let largest = want.iter().fold(0f32, |max, x| max.max(x.abs()));
    let bound = 1e-6 * (terms as f32).sqrt() * largest;
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= bound, "{}: {name}[{i}] is {got}, not {want} ± {bound:e}", case.name);
    }
}

/// What `fill` writes into `len` elements. They start as NaN, so that one left out shows.
fn filled(len: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = vec![f32::NAN; len];
    fill(&mut out);
    out
}

/// The shape of tensor `name`, PyTorch's axes.
fn shape<const RANK: usize>(t: &Fixture, name: &str) -> [usize; RANK] {
    t.shape(name).try_into().unwrap_or_else(|shape| panic!("{name}: {shape:?} has not {RANK} axes"))
}

fn conv2d(cpu: &Cpu, case: &Case, t: &Fixture) {
    let ([n, c, h, w], [o, _, kh, kw]) = (shape(t, "x"), shape(t, "w"));
    let (stride, padding, dilation) = (case.pair("stride"), case.pair("padding"), case.pair("dilation"));
    let g = Conv2d {
        n,
        h,
        w,
        c,
        o,
        kh,
        kw,
        stride,
        padding,
        extra_padding: [0; 2],
        dilation,
        groups: case.count("groups"),
    };
    g.check().expect("a valid geometry");
    let [x, w, b, dy] = ["x", "w", "b", "dy"].map(|name| t.values(name));
    let (inputs, pixels) = (g.w_len() / o, g.y_len() / o);
    let y = filled(g.y_len(), |y| cpu::conv2d_forward(cpu, &g, &x, &w, Some(&b), y));
    check(case, t, "y", inputs, &y);
    let dx = filled(x.len(), |dx| cpu::conv2d_input_grad(cpu, &g, &dy, &w, dx));
    check(case, t, "dx", kh * kw * o / g.groups, &dx);
    check(case, t, "dw", pixels, &filled(w.len(), |dw| cpu::conv2d_weight_grad(cpu, &g, &x, &dy, dw)));
    check(case, t, "db", pixels, &filled(o, |db| cpu::sum_rows(cpu, pixels, o, &dy, db)));
}

fn linear(cpu: &Cpu, case: &Case, t: &Fixture) {
    let ([n, inputs], [outputs, _]) = (shape(t, "x"), shape(t, "w"));
    let g = Linear { n, inputs, outputs };
    let [x, w, b, dy] = ["x", "w", "b", "dy"].map(|name| t.values(name));
    let y = filled(n * outputs, |y| cpu::linear_forward(cpu, &g, &x, &w, Some(&b), y));
    check(case, t, "y", inputs, &y);
    check(case, t, "dx", outputs, &filled(x.len(), |dx| cpu::linear_input_grad(cpu, &g, &dy, &w, dx)));
    check(case, t, "dw", n, &filled(w.len(), |dw| cpu::linear_weight_grad(cpu, &g, &x, &dy, dw)));
    check(case, t, "db", n, &filled(outputs, |db| cpu::sum_rows(cpu, n, outputs, &dy, db)));
}

fn batch_norm(cpu: &Cpu, case: &Case, t: &Fixture) {
    let [x, gamma, beta, dy, running_mean, running_var] =
        ["x", "gamma", "beta", "dy", "running_mean", "running_var"].map(|name| t.values(name));
    let (c, eps, momentum) = (gamma.len(), case.number("eps"), case.number("momentum"));
    let rows = x.len() / c;
    let (mut mean, mut var) = (vec![f32::NAN; c], vec![f32::NAN; c]);
    let (g, end) = (BatchNorm { rows, c, eps }, cpu::Epilogue::default());
    let y = filled(x.len(), |y| {
        cpu::batch_norm_forward_train(cpu, &g, &x, [&gamma, &beta], &end, y, [&mut mean, &mut var]);
    });
    check(case, t, "y_train", rows, &y);

    // PyTorch keeps the unbiased variance.
    let unbiased = rows as f32 / (rows - 1) as f32;
    let blend = |old: &[f32], new: &[f32], factor: f32| -> Vec<f32> {
        old.iter().zip(new).map(|(old, new)| (1.0 - momentum) * old + momentum * factor * new).collect()
    };
    check(case, t, "running_mean_after", rows, &blend(&running_mean, &mean, 1.0));
    check(case, t, "running_var_after", rows, &blend(&running_var, &var, unbiased));

    let (mut dgamma, mut dbeta) = (vec![f32::NAN; c], vec![f32::NAN; c]);
    let mut dx = dy;
    let forward = Normalized {
        statistics: Statistics::Batch,
        x: &x[..],
        mean: &mean,
        var: &var,
        gamma: &gamma,
        activation: Activation::None,
        y: None,
    };
    cpu::batch_norm_backward(cpu, &g, &forward, &mut dx, None, [&mut dgamma, &mut dbeta]);
    check(case, t, "dx", rows, &dx);
    check(case, t, "dgamma", rows, &dgamma);
    check(case, t, "dbeta", rows, &dbeta);

    // The fixture's eval pass uses the statistics from before its training pass.
    let y = filled(x.len(), |y| {
        let statistics = [&running_mean[..], &running_var];
        cpu::batch_norm_forward_eval(cpu, &g, &x, statistics, [&gamma, &beta], &end, y);
    });
    check(case, t, "y_eval", 1, &y);
}

fn pool(cpu: &Cpu, case: &Case, t: &Fixture) {
    let [n, c, h, w] = shape(t, "x");
    let [kernel, stride, padding] = ["k", "s", "p"].map(|name| [case.count(name); 2]);
    let average = case.op == "avg_pool2d";
    let count_include_pad = average && case.flag("count_include_pad");
    let ceil_mode = !average && case.flag("ceil");
    let g = Pool2d { n, h, w, c, kernel, stride, padding, ceil_mode, count_include_pad };
    g.check().expect("a valid geometry");
    let (x, dy, area) = (t.values("x"), t.values("dy"), kernel[0] * kernel[1]);
    let (y, dx) = if average {
        (
            filled(g.y_len(), |y| cpu::avg_pool2d_forward(cpu, &g, &x, y)),
            filled(g.x_len(), |dx| cpu::avg_pool2d_input_grad(cpu, &g, &dy, dx)),
        )
    } else {
        (
            filled(g.y_len(), |y| cpu::max_pool2d_forward(cpu, &g, &x, y)),
            filled(g.x_len(), |dx| cpu::max_pool2d_input_grad(cpu, &g, &x, &dy, dx)),
        )
    };
    check(case, t, "y", area, &y);
    check(case, t, "dx", area, &dx);
}

fn adaptive_pool(cpu: &Cpu, case: &Case, t: &Fixture) {
    let ([n, c, h, w], [oh, ow]) = (shape(t, "x"), case.pair("output"));
    let g = AdaptivePool2d { n, h, w, c, oh, ow };
    let (x, dy) = (t.values("x"), t.values("dy"));
    let (y, dx) = if case.op == "adaptive_avg_pool2d" {
        (
            filled(g.y_len(), |y| cpu::adaptive_avg_pool2d_forward(cpu, &g, &x, y)),
            filled(g.x_len(), |dx| cpu::adaptive_avg_pool2d_input_grad(cpu, &g, &dy, dx)),
        )
    } else {
        (
            filled(g.y_len(), |y| cpu::adaptive_max_pool2d_forward(cpu, &g, &x, y)),
            filled(g.x_len(), |dx| cpu::adaptive_max_pool2d_input_grad(cpu, &g, &x, &dy, dx)),
        )
    };
    check(case, t, "y", 4, &y);
    check(case, t, "dx", 4, &dx);
}

fn cross_entropy(cpu: &Cpu, case: &Case, t: &Fixture) {
    let [rows, k] = shape(t, "logits");
    let (logits, target, smoothing) =
        (t.values("logits"), t.classes("target"), case.number("label_smoothing"));
    let loss = cpu::cross_entropy_forward(cpu, [rows, k], &logits, &target, smoothing);
    check(case, t, "loss", 1, &[loss]);
    let grad = filled(rows * k, |d| {
        cpu::cross_entropy_input_grad(cpu, [rows, k], &logits, &target, smoothing, 1.0, d)
    });
    check(case, t, "dlogits", 1, &grad);
}

fn soft_target(cpu: &Cpu, case: &Case, t: &Fixture) {
    let [rows, k] = shape(t, "student");
    let (student, teacher, temperature) = (t.values("student"), t.values("teacher"), case.number("T"));
    let loss = cpu::kl_divergence_forward(cpu, [rows, k], &student, &teacher, temperature);
    check(case, t, "loss", 1, &[loss]);
    let grad = filled(rows * k, |d| {
        cpu::kl_divergence_input_grad(cpu, [rows, k], &student, &teacher, temperature, 1.0, d)
    });
    check(case, t, "dstudent", 1, &grad);
}

/// Walks the trace: `step(number from 0, parameter, gradient)` makes each step.
fn follow(case: &Case, t: &Fixture, mut step: impl FnMut(usize, &mut [f32], &[f32])) {
    let (mut p, grads) = (t.stored("p0"), t.stored("grads"));
    let mut trace = Vec::new();
    for (number, grad) in grads.chunks_exact(p.len()).enumerate() {
        step(number, &mut p, grad);
        trace.extend_from_slice(&p);
    }
    check(case, t, "trace", 1, &trace);
}

fn sgd(cpu: &Cpu, case: &Case, t: &Fixture) {
    let h = Sgd {
        lr: case.number("lr"),
        momentum: case.number("momentum"),
        nesterov: case.flag("nesterov"),
        weight_decay: case.number("weight_decay"),
    };
    let mut velocity = vec![f32::NAN; t.stored("p0").len()];
    follow(case, t, |number, p, grad| cpu::sgd_step(cpu, &h, number == 0, p, grad, &mut velocity, None));
}

fn adam(cpu: &Cpu, case: &Case, t: &Fixture) {
    let beta = |i: usize| case.attrs["betas"][i].as_f64().expect("two betas") as f32;
    let h = Adam {
        lr: case.number("lr"),
        beta1: beta(0),
        beta2: beta(1),
        eps: case.number("eps"),
        weight_decay: case.number("weight_decay"),
        decoupled: case.flag("decoupled_weight_decay"),
    };
    let len = t.stored("p0").len();
    let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
    follow(case, t, |number, p, grad| {
        cpu::adam_step(cpu, &h, number as u32 + 1, p, grad, [&mut m, &mut v], None)
    });
}
