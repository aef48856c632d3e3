//! Fully connected layers: `y[n, o] = b[o] + Σ_i x[n, i] · w[o, i]`.
//!
//! Training uses the unpacked weight; inference packs it ([`linear`](crate::cpu::linear)). A step with a mask leaves out dead
//! outputs and inputs as a convolution of images of one pixel does, if that takes less time.

use crate::cpu::Cpu;
use crate::cpu::conv2d::{
    clear_dead, conv2d_masked_forward, conv2d_masked_input_grad, conv2d_masked_weight_grad, leaves_out,
};
use crate::cpu::gemm::matmul::{gemm, gemv};
use crate::params::Trans;
use crate::pattern::Pattern;
use crate::shapes::Linear;

/// Computes the forward pass: `x` `[N, I]`, `w` `[O, I]`, `bias` `[O]` → `y` `[N, O]`.
pub fn linear_forward(cpu: &Cpu, g: &Linear, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    assert!(bias.is_none_or(|bias| bias.len() == g.outputs), "the bias has one value per output");
    if g.n == 1 {
        gemv(cpu, Trans::No, g.outputs, g.inputs, w, x, y);
    } else {
        gemm(cpu, &g.forward(), x, w, false, y);
    }
    if let Some(bias) = bias {
        for row in y.chunks_exact_mut(g.outputs) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y += b;
            }
        }
    }
}

/// Computes the gradient with respect to the input: `dy` `[N, O]`, `w` `[O, I]` → `dx` `[N, I]`.
pub fn linear_input_grad(cpu: &Cpu, g: &Linear, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    if g.n == 1 {
        gemv(cpu, Trans::Yes, g.outputs, g.inputs, w, dy, dx);
    } else {
        gemm(cpu, &g.input_grad(), dy, w, false, dx);
    }
}

/// Computes the gradient with respect to the weight: `x` `[N, I]`, `dy` `[N, O]` → `dw` `[O, I]`.
pub fn linear_weight_grad(cpu: &Cpu, g: &Linear, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    gemm(cpu, &g.weight_grad(), dy, x, false, dw);
}

/// [`linear_forward`] of a weight that is zero outside `pattern`.
pub fn linear_masked_forward(
    cpu: &Cpu,
    g: &Linear,
    pattern: &Pattern,
    [x, w]: [&[f32]; 2],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let images = g.over_images();
    match leaves_out(&images, pattern) {
        true => conv2d_masked_forward(cpu, &images, pattern, [x, w], bias, y),
        false => linear_forward(cpu, g, x, w, bias, y),
    }
}

/// [`linear_input_grad`] of a weight that is zero outside `pattern`.
pub fn linear_masked_input_grad(
    cpu: &Cpu,
    g: &Linear,
    pattern: &Pattern,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
) {
    let images = g.over_images();
    match leaves_out(&images, pattern) {
        true => conv2d_masked_input_grad(cpu, &images, pattern, dy, w, dx),
        false => linear_input_grad(cpu, g, dy, w, dx),
    }
}

/// Computes the gradient with respect to the nonzero weights of `pattern`, with zeros elsewhere; shapes are as for
/// [`linear_weight_grad`].
pub fn linear_masked_weight_grad(
    cpu: &Cpu,
    g: &Linear,
    pattern: &Pattern,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    let images = g.over_images();
    if leaves_out(&images, pattern) {
        return conv2d_masked_weight_grad(cpu, &images, pattern, x, dy, dw);
    }
    linear_weight_grad(cpu, g, x, dy, dw);
    clear_dead(cpu, pattern, dw);
}
