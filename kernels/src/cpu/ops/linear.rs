//! Fully connected layers: `y[n, o] = b[o] + Σ_i x[n, i] · w[o, i]`.
//!
//! Training uses the unpacked weight; inference packs it ([`linear`](crate::cpu::linear)).

use crate::cpu::Cpu;
use crate::cpu::gemm::matmul::{gemm, gemv};
use crate::params::Trans;
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
