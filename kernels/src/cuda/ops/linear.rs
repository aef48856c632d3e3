//! Fully connected layers, `y[n, o] = b[o] + Σ_i x[n, i] · w[o, i]`, and matrix products, on the units that `grades`
//! chooses.

use super::grades::on_tensor_cores;
use super::{Epilogue, conv2d_forward};
use crate::cuda::{Cuda, DeviceBuffer, Result, mma, simt};
use crate::params::Dtype;
use crate::shapes::{Linear, Matmul};

/// Computes `y = activation(x · wᵀ + bias + residual)`: `x` `[N, I]`, `w` `[O, I]`, `residual` and `y` `[N, O]`, of
/// one floating-point type; `bias` `[O]` is f32.
pub fn linear_forward(
    cuda: &Cuda,
    g: &Linear,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    // With few rows, reading the weight takes all the time, so rounding it gains nothing.
    let few = g.n <= simt::FEW_ROWS && x.dtype() == Dtype::F32;
    if few || !on_tensor_cores(cuda, x.dtype()) {
        return epilogue.around(cuda, y, |epilogue, y| simt::linear_forward(cuda, g, x, w, epilogue, y));
    }
    // A row is an image of one pixel.
    conv2d_forward(cuda, &g.over_images(), x, w, epilogue, y)
}

/// The gradient of the input: `dy` `[N, O]`, `w` `[O, I]` → `dx` `[N, I]`, of one floating-point type.
pub fn linear_input_grad(
    cuda: &Cuda,
    g: &Linear,
    dy: &DeviceBuffer,
    w: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    gemm(cuda, &g.input_grad(), dy, w, false, dx)
}

/// The gradient of the weight: `x` `[N, I]` and `dy` `[N, O]` of one floating-point type → `dw` `[O, I]` in f32.
pub fn linear_weight_grad(
    cuda: &Cuda,
    g: &Linear,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dw: &mut DeviceBuffer,
) -> Result<()> {
    gemm(cuda, &g.weight_grad(), dy, x, false, dw)
}

/// Computes `C = op(A) · op(B)`, or `C += …` with `accumulate`. A and B share one floating-point type; C
/// has the same type or f32. Sizes are below 2³¹.
pub fn gemm(
    cuda: &Cuda,
    g: &Matmul,
    a: &DeviceBuffer,
    b: &DeviceBuffer,
    accumulate: bool,
    c: &mut DeviceBuffer,
) -> Result<()> {
    match on_tensor_cores(cuda, a.dtype()) {
        true => mma::gemm(cuda, g, a, b, accumulate, c),
        false => simt::gemm(cuda, g, a, b, accumulate, c),
    }
}
