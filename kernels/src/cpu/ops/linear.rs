//! Fully connected layers: `y[n, o] = b[o] + Σ_i x[n, i] · w[o, i]`.
//!
//! Training uses the unpacked weight. Inference packs it as a 1×1 convolution over the rows of the batch. With few
//! rows, both are bound by all threads reading the weight from memory once.

use crate::cpu::Cpu;
use crate::cpu::conv2d::{Algorithm, Choice, Epilogue, PackedConv2d, Packing, conv2d_forward_packed};
use crate::cpu::gemm::matmul::{gemm, gemv};
use crate::params::{Dtype, Trans};
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

/// The weight of a linear layer, packed in the order in which the kernel reads it.
pub struct PackedLinear(PackedConv2d);

impl PackedLinear {
    /// Packs `w` `[O, I]`. The number of rows in `g` does not matter.
    pub fn new(cpu: &Cpu, g: &Linear, w: &[f32]) -> Self {
        Self::stored(cpu, g, w, Dtype::F32)
    }

    /// Packs `w` as f32 or bf16. With few rows, a layer takes as long as reading its weight. In bf16 that
    /// is half as long, and each weight is rounded by at most 2⁻⁹ of its value.
    pub fn stored(cpu: &Cpu, g: &Linear, w: &[f32], dtype: Dtype) -> Self {
        Self::masked(cpu, g, w, &Pattern::dense([g.outputs, 1, g.inputs]), dtype)
    }

    /// Packs the rows of `w` that `pattern` `[O, 1, I]` keeps, as f32 or bf16; see [`PackedConv2d::masked`].
    pub fn masked(cpu: &Cpu, g: &Linear, w: &[f32], pattern: &Pattern, dtype: Dtype) -> Self {
        let direct = Packing::By(Algorithm::Direct);
        Self(PackedConv2d::stored(cpu, &g.over_pixels(), w, pattern, direct, dtype))
    }

    /// The name of the chosen kernel: operation, tile and instruction set.
    pub fn kernel(&self) -> &'static str {
        self.0.kernel()
    }

    /// The chosen algorithm, which is the direct one, and a note on zeros that it multiplies.
    pub fn choice(&self) -> &Choice {
        self.0.choice()
    }

    /// The number of multiply-accumulates needed to compute `g`.
    pub fn products(&self, g: &Linear) -> u64 {
        self.0.products(&g.over_pixels())
    }

    /// The size of the packed weights in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// Computes `y = activation(x · wᵀ + bias + residual)` with a packed weight. Shapes are as for [`linear_forward`].
pub fn linear_forward_packed(
    cpu: &Cpu,
    g: &Linear,
    x: &[f32],
    w: &PackedLinear,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    conv2d_forward_packed(cpu, &g.over_pixels(), x, &w.0, epilogue, y);
}
