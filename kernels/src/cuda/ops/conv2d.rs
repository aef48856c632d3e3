//! Convolution over channels-last images, on the units that `grades` chooses.

use super::Epilogue;
use super::grades::{in_single, on_tensor_cores};
use crate::cuda::{Cuda, DeviceBuffer, Result, mma, simt, wgmma};
use crate::params::Dtype;
use crate::shapes::Conv2d;

/// Convolution with a fused epilogue: `y = activation(x ∗ w + bias + residual)`. `x` `[N, H, W, C]`, `w`
/// `[O, KH, KW, C/G]`, `residual` and `y` `[N, OH, OW, O]` share one floating-point type; `bias` `[O]` is f32.
pub fn conv2d_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    epilogue.around(cuda, y, |epilogue, y| {
        if !tensor_cores_take(cuda, g, x.dtype()) {
            return in_single(cuda, [x, w], epilogue, y, |[x, w], epilogue, y| {
                simt::conv2d_forward(cuda, g, x, w, epilogue, y)
            });
        }
        // A few large tiles, as at batch 1, leave most multiprocessors idle, no matter how fast the busy ones are.
        match wgmma::applies(cuda, g, x.dtype()) && !mma::shares_tiles(cuda, g, x.dtype()) {
            true => wgmma::conv2d_forward(cuda, g, x, w, epilogue, y),
            false => mma::conv2d_forward(cuda, g, x, w, epilogue, y),
        }
    })
}

/// The gradient of the input: `dy` `[N, OH, OW, O]`, `w` `[O, KH, KW, C/G]` → `dx` `[N, H, W, C]`, all of one
/// floating-point type.
pub fn conv2d_input_grad(
    cuda: &Cuda,
    g: &Conv2d,
    dy: &DeviceBuffer,
    w: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    if !tensor_cores_take(cuda, g, dy.dtype()) {
        let input_grad = |[dy, w]: [&DeviceBuffer; 2], _: &Epilogue, dx: &mut DeviceBuffer| {
            simt::conv2d_input_grad(cuda, g, dy, w, dx)
        };
        return in_single(cuda, [dy, w], &Epilogue::default(), dx, input_grad);
    }
    match wgmma::applies_to_input_grad(cuda, g, dy.dtype()) {
        true => wgmma::conv2d_input_grad(cuda, g, dy, w, dx),
        false => mma::conv2d_input_grad(cuda, g, dy, w, dx),
    }
}

/// The gradient of the weight: `x` `[N, H, W, C]` and `dy` `[N, OH, OW, O]` of one floating-point type → `dw`
/// `[O, KH, KW, C/G]` in f32.
pub fn conv2d_weight_grad(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dw: &mut DeviceBuffer,
) -> Result<()> {
    if !tensor_cores_take(cuda, g, x.dtype()) {
        let weight_grad = |[x, dy]: [&DeviceBuffer; 2], _: &Epilogue, dw: &mut DeviceBuffer| {
            simt::conv2d_weight_grad(cuda, g, x, dy, dw)
        };
        return in_single(cuda, [x, dy], &Epilogue::default(), dw, weight_grad);
    }
    match wgmma::applies_to_weight_grad(cuda, g, x.dtype()) {
        true => wgmma::conv2d_weight_grad(cuda, g, x, dy, dw),
        false => mma::conv2d_weight_grad(cuda, g, x, dy, dw),
    }
}

fn tensor_cores_take(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> bool {
    g.groups == 1 && on_tensor_cores(cuda, dtype)
}
