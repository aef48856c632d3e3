//! Matrix products, and linear layers with their gradients.

use crate::cases::run;
use crate::draw::{filled, wanted};
use crate::support::{CPUS, assert_bounded, magnitude, wide};
use half::bf16;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Epilogue, LinearLayout, PackedLinear};
use lopper_kernels::params::{Activation, Dtype, Trans};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::{Linear, Matmul};

#[test]
fn matrix_products() {
    run("matrix_products", 50, |draw| {
        let [m, n] = [0; 2].map(|_| draw.between(1..=130));
        let k = if draw.one_in(20) { draw.between(500..=1100) } else { draw.between(1..=60) };
        let [ta, tb] = [0; 2].map(|_| draw.pick(&[Trans::No, Trans::Yes]));
        let g = Matmul::new([ta, tb], [m, n, k]);
        let (accumulate, integers) = (draw.one_in(2), draw.one_in(2));
        draw.about(format_args!(
            "{ta:?} × {tb:?}, {m}×{k}×{n}, accumulate: {accumulate}, integers: {integers}"
        ));
        let (a, b, c) =
            (draw.values(integers, m * k), draw.values(integers, k * n), draw.values(integers, m * n));
        let product = |of: fn(&[f32]) -> Vec<f64>| {
            let mut want = of(&c);
            reference::gemm(&g, &of(&a), &of(&b), accumulate, &mut want);
            want
        };
        let (want, sums) = (product(wide), product(magnitude));
        let (outputs, inputs) = if ta == Trans::No { (m, k) } else { (k, m) };
        let x = draw.values(integers, inputs);
        let vector =
            |of: fn(&[f32]) -> Vec<f64>| wanted(outputs, |y| reference::gemv(ta, m, k, &of(&a), &of(&x), y));
        let (want_vector, sums_vector) = (vector(wide), vector(magnitude));
        let constant = if integers { 0.0 } else { 2.0 };
        for cpu in &*CPUS {
            let mut got = if accumulate { c.clone() } else { Buffer::unspecified(m * n) };
            cpu::gemm(cpu, &g, &a, &b, accumulate, &mut got);
            assert_bounded(&format!("{} gemm", cpu.isa()), constant, k + 1, &got, &want, &sums);
            let got = filled(outputs, |y| cpu::gemv(cpu, ta, m, k, &a, &x, y));
            assert_bounded(
                &format!("{} gemv", cpu.isa()),
                constant,
                inputs,
                &got,
                &want_vector,
                &sums_vector,
            );
        }
    });
}

#[test]
fn linear_layers() {
    run("linear_layers", 50, |draw| {
        let g =
            Linear { n: draw.between(1..=40), inputs: draw.between(1..=150), outputs: draw.between(1..=150) };
        let integers = draw.one_in(2);
        let storage = draw.pick(&[Dtype::F32, Dtype::Bf16]);
        let activation = draw.pick(&[Activation::None, Activation::Relu, Activation::Relu6]);
        draw.about(format_args!("{g:?} as {storage:?}, {activation:?}, integers: {integers}"));
        let x = draw.values(integers, g.n * g.inputs);
        let w = draw.values(integers, g.inputs * g.outputs);
        // Weights that are exact in bf16.
        let mut w: Buffer = w.iter().map(|&w| bf16::from_f32(w).to_f32()).collect();
        let live = if draw.one_in(2) { draw.flags(g.outputs) } else { vec![true; g.outputs] };
        let layout = draw.pick(&[LinearLayout::Panels, LinearLayout::Bits, LinearLayout::Lists]);
        let eighths = draw.between(0..=8);
        for weight in w.iter_mut() {
            if draw.between(1..=8) <= eighths {
                *weight = 0.0;
            }
        }
        for (row, _) in w.chunks_exact_mut(g.inputs).zip(&live).filter(|(_, live)| !**live) {
            row.fill(0.0);
        }
        let pattern = Pattern::of(&w, [g.outputs, 1, g.inputs]);
        let (bias, dy) = (draw.values(integers, g.outputs), draw.values(integers, g.n * g.outputs));
        let forward = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(dy.len(), |y| reference::linear_forward(&g, &of(&x), &of(&w), Some(&of(&bias)), y))
        };
        let dx = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(x.len(), |dx| reference::linear_input_grad(&g, &of(&dy), &of(&w), dx))
        };
        let dw = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(w.len(), |dw| reference::linear_weight_grad(&g, &of(&x), &of(&dy), dw))
        };
        let mut activated = forward(wide);
        reference::conv2d_epilogue(None, activation, &mut activated);
        let constant = if integers { 0.0 } else { 2.0 };
        for cpu in &*CPUS {
            let check = |what: &str, k: usize, got: Buffer, want: &[f64], sums: &[f64]| {
                assert_bounded(&format!("{} {what}", cpu.isa()), constant, k, &got, want, sums);
            };
            let y = filled(dy.len(), |y| cpu::linear_forward(cpu, &g, &x, &w, Some(&bias), y));
            check("y", g.inputs + 1, y, &forward(wide), &forward(magnitude));
            let packed = PackedLinear::laid_out(cpu, &g, &w, &pattern, storage, layout);
            let epilogue = Epilogue { bias: Some(&bias), residual: None, activation };
            let y = filled(dy.len(), |y| cpu::linear_forward_packed(cpu, &g, &x, &packed, &epilogue, y));
            check(packed.kernel(), g.inputs + 1, y, &activated, &forward(magnitude));
            let got = filled(x.len(), |dx| cpu::linear_input_grad(cpu, &g, &dy, &w, dx));
            check("dx", g.outputs, got, &dx(wide), &dx(magnitude));
            let got = filled(w.len(), |dw| cpu::linear_weight_grad(cpu, &g, &x, &dy, dw));
            check("dw", g.n, got, &dw(wide), &dw(magnitude));
        }
    });
}

/// A step of training with a mask: outputs and inputs may be dead, and single weights.
#[test]
fn masked_linear_layers() {
    run("masked_linear_layers", 20, |draw| {
        let g =
            Linear { n: draw.between(1..=70), inputs: draw.between(1..=150), outputs: draw.between(1..=150) };
        let integers = draw.one_in(2);
        draw.about(format_args!("{g:?}, integers: {integers}"));
        let [x, mut w, dy, bias] = [g.n * g.inputs, g.inputs * g.outputs, g.n * g.outputs, g.outputs]
            .map(|len| draw.values(integers, len));
        let (outputs, inputs) = (draw.flags(g.outputs), draw.flags(g.inputs));
        let [some_outputs, some_inputs, single] = [(); 3].map(|()| draw.one_in(2));
        for (at, weight) in w.iter_mut().enumerate() {
            let dead = some_outputs && !outputs[at / g.inputs] || some_inputs && !inputs[at % g.inputs];
            if dead || single && draw.one_in(3) {
                *weight = 0.0;
            }
        }
        let pattern = Pattern::of(&w, [g.outputs, 1, g.inputs]);
        let forward = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(dy.len(), |y| reference::linear_forward(&g, &of(&x), &of(&w), Some(&of(&bias)), y))
        };
        let dx = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(x.len(), |dx| reference::linear_input_grad(&g, &of(&dy), &of(&w), dx))
        };
        let dw = |of: fn(&[f32]) -> Vec<f64>| {
            let mut dw = wanted(w.len(), |dw| reference::linear_weight_grad(&g, &of(&x), &of(&dy), dw));
            dw.iter_mut().zip(&*w).filter(|(_, w)| **w == 0.0).for_each(|(dw, _)| *dw = 0.0);
            dw
        };
        let constant = if integers { 0.0 } else { 2.0 };
        for cpu in &*CPUS {
            let check = |what: &str, k: usize, got: Buffer, want: &[f64], sums: &[f64]| {
                assert_bounded(&format!("{} {what}", cpu.isa()), constant, k, &got, want, sums);
            };
            let y = filled(dy.len(), |y| {
                cpu::linear_masked_forward(cpu, &g, &pattern, [&x, &w], Some(&bias), y);
            });
            check("y", g.inputs + 1, y, &forward(wide), &forward(magnitude));
            let got = filled(x.len(), |dx| cpu::linear_masked_input_grad(cpu, &g, &pattern, &dy, &w, dx));
            check("dx", g.outputs, got, &dx(wide), &dx(magnitude));
            let got = filled(w.len(), |dw| cpu::linear_masked_weight_grad(cpu, &g, &pattern, &x, &dy, dw));
            check("dw", g.n, got, &dw(wide), &dw(magnitude));
        }
    });
}
