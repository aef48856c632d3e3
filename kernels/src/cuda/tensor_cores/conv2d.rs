//! Convolution on tensor cores.

use super::{Kernels, MmaTile, Output, Windows, choose, kernels};
use crate::cuda::error::Result;
use crate::cuda::source::CONV2D_MMA;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::{Activation, Dtype};
use crate::shapes::Conv2d;

const FORWARD: Kernels = kernels!("conv2d_mma_forward");

/// `y = activation(x ∗ w + bias + residual)`: `x` `[N, H, W, C]`, `w` `[O, KH, KW, C]`, `bias` `[O]` f32, `residual` and
/// `y` `[N, OH, OW, O]`; all but the bias of one floating-point type. One group.
pub fn conv2d_forward_mma(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    bias: Option<&DeviceBuffer>,
    residual: Option<&DeviceBuffer>,
    activation: Activation,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let tile = MmaTile::for_product(cuda, y.len() / g.o, g.o);
    conv2d_forward_mma_tiled(cuda, tile, g, x, w, bias, residual, activation, y)
}

/// [`conv2d_forward_mma`] with a tile of the caller's; channels that are not made of whole vectors have theirs.
pub fn conv2d_forward_mma_tiled(
    cuda: &Cuda,
    tile: MmaTile,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    bias: Option<&DeviceBuffer>,
    residual: Option<&DeviceBuffer>,
    activation: Activation,
    y: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, w, y);
    assert!(bias.is_none_or(|b| (b.dtype(), b.len()) == (Dtype::F32, g.o)), "a bias of an f32 each filter");
    assert!(
        residual.is_none_or(|r| (r.dtype(), r.len()) == (y.dtype(), y.len())),
        "a residual as the output"
    );
    let pixels = y.len() / g.o;
    let windows = [Windows::new(
        g.x_shape(),
        [g.oh(), g.ow()],
        [g.kh, g.kw],
        [g.stride.map(|s| s as i32), g.padding.map(|p| -(p as i32)), g.dilation.map(|d| d as i32)],
    )];
    let output = [Output::dense(pixels, g.o, activation, y)];
    let vectors = g.c.is_multiple_of(x.dtype().lanes());
    let (kernel, grid) = choose(&FORWARD, x.dtype(), vectors, tile, [pixels, g.o, 1]);
    let args =
        [(&windows).into(), x.into(), w.into(), bias.into(), residual.into(), y.into(), (&output).into()];
    // SAFETY: windows end at the image's edge and filters at the last; rows and columns of the output are below its
    // own. The buffers have the lengths of their shapes (checked).
    unsafe { cuda.launch(&CONV2D_MMA, kernel, grid, &args) }
}

/// Refuses buffers of other lengths than `g`'s, or of several types.
fn check(g: &Conv2d, x: &DeviceBuffer, w: &DeviceBuffer, y: &DeviceBuffer) {
    assert_eq!(
        (x.len(), w.len(), y.len()),
        (g.x_len(), g.w_len(), g.y_len()),
        "input, weight and output have the lengths of their shapes"
    );
    assert_eq!((w.dtype(), y.dtype()), (x.dtype(), x.dtype()), "input, weight and output of one type");
    assert_eq!(g.groups, 1, "tensor cores take a convolution of one group");
}
