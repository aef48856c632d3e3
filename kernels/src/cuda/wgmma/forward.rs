//! The forward pass of a convolution.

use super::problem::{Pixels, WindowsArg, int, run};
use super::tensor_map::MAX_STRIDE;
use crate::cuda::driver::Result;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::Dtype;
use crate::shapes::Conv2d;

/// Whether this module's kernels can compute `g` on `cuda`: they need `sm_90a`, one group, channels that are a
/// multiple of 16 bytes (as the copy engine's strides are), and strides of at most 8.
pub fn applies(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> bool {
    cuda.arch() == "sm_90a"
        && dtype != Dtype::U32
        && g.groups == 1
        && g.c.is_multiple_of(dtype.lanes())
        && g.stride.iter().all(|&s| s <= MAX_STRIDE)
}

/// Computes `y = activation(x ∗ w + bias + residual)`: `x` `[N, H, W, C]`, `w` `[O, KH, KW, C]`, `y` and `residual`
/// `[N, OH, OW, O]`, all of one type; `bias` `[O]` is f32. Sums are f32 and rounded once; f32 operands are rounded to
/// TF32.
///
/// # Panics
/// If [`applies`] is false, or a buffer does not match the geometry.
pub fn conv2d_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    assert!(applies(cuda, g, x.dtype()), "a convolution for wgmma: {g:?} of {:?} on {cuda:?}", x.dtype());
    let outputs = [g.oh(), g.ow()];
    let windows = WindowsArg {
        stride: g.stride.map(int),
        origin: g.padding.map(|p| -int(p)),
        dilation: g.dilation.map(int),
        tap: [0; 2],
        tap_step: [1; 2],
        size: outputs.map(int),
        first: [0; 2],
        step: [1; 2],
    };
    let pixels = Pixels { windows, outputs, taps: [g.kh, g.kw] };
    run(cuda, g, &pixels, [x, w], epilogue, y)
}
