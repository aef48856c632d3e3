//! Fully connected layers: `y[n, o] = b[o] + Σ_i x[n, i] · w[o, i]`, in f32.

use super::epilogue::Epilogue;
use super::error::Result;
use super::matmul::{gemm, product};
use super::{Cuda, DeviceBuffer};
use crate::params::Trans;
use crate::shapes::Linear;

/// `y = activation(x · wᵀ + bias + residual)`: `x` `[N, I]`, `w` `[O, I]` → `y` `[N, O]`.
pub fn linear_forward(
    cuda: &Cuda,
    g: &Linear,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    epilogue.check(g.outputs, y.len());
    product(cuda, [Trans::No, Trans::Yes], [g.n, g.outputs, g.inputs], x, w, epilogue.arg(), y)
}

/// Gradient with respect to the input: `dy` `[N, O]`, `w` `[O, I]` → `dx` `[N, I]`.
pub fn linear_input_grad(
    cuda: &Cuda,
    g: &Linear,
    dy: &DeviceBuffer,
    w: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    gemm(cuda, Trans::No, Trans::No, g.n, g.inputs, g.outputs, dy, w, false, dx)
}

/// Gradient with respect to the weight: `x` `[N, I]`, `dy` `[N, O]` → `dw` `[O, I]`.
pub fn linear_weight_grad(
    cuda: &Cuda,
    g: &Linear,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dw: &mut DeviceBuffer,
) -> Result<()> {
    gemm(cuda, Trans::Yes, Trans::No, g.outputs, g.inputs, g.n, dy, x, false, dw)
}
