//! Convolution on tensor cores.

use super::{Kernels, MmaTile, Output, Windows, grades, slices, sum_slices};
use crate::cuda::error::Result;
use crate::cuda::source::CONV2D_MMA;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::{Activation, Dtype};
use crate::shapes::Conv2d;

const FORWARD: Kernels = Kernels {
    tiles: &[
        (MmaTile::Square128, grades!("conv2d_mma_forward", "_128x128")),
        (MmaTile::Tall128, grades!("conv2d_mma_forward", "_128x64")),
        (MmaTile::Square64, grades!("conv2d_mma_forward", "_64x64")),
    ],
    any: grades!("conv2d_mma_forward", "_any"),
};

const WEIGHT_GRAD: Kernels = Kernels {
    tiles: &[
        (MmaTile::Square128, grades!("conv2d_mma_weight_grad", "_128x128")),
        (MmaTile::Square64, grades!("conv2d_mma_weight_grad", "_64x64")),
    ],
    any: grades!("conv2d_mma_weight_grad", "_any"),
};

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
    let tile = FORWARD.tile(cuda, y.len() / g.o, g.o);
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
    assert_eq!((w.dtype(), y.dtype()), (x.dtype(), x.dtype()), "input, weight and output of one type");
    assert!(bias.is_none_or(|b| (b.dtype(), b.len()) == (Dtype::F32, g.o)), "a bias of an f32 each filter");
    assert!(
        residual.is_none_or(|r| (r.dtype(), r.len()) == (y.dtype(), y.len())),
        "a residual as the output"
    );
    let output = Output::dense(y.len() / g.o, g.o, activation, y);
    launch_forward(cuda, tile, forward_windows(g), output, [x, w], bias, residual, y)
}

/// The windows of `g` over its input.
fn forward_windows(g: &Conv2d) -> Windows {
    let [stride, dilation] = [g.stride, g.dilation].map(|pair| pair.map(|n| n as i32));
    let origin = g.padding.map(|p| -(p as i32));
    Windows::new(g.x_shape(), [g.oh(), g.ow()], [g.kh, g.kw], [stride, origin, dilation])
}

/// Multiplies the windows of `x` by filters `w`, which lie tap by tap.
fn launch_forward(
    cuda: &Cuda,
    tile: MmaTile,
    windows: Windows,
    output: Output,
    [x, w]: [&DeviceBuffer; 2],
    bias: Option<&DeviceBuffer>,
    residual: Option<&DeviceBuffer>,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let vectors = (windows.channels as usize).is_multiple_of(x.dtype().lanes());
    let (kernel, tile) = FORWARD.choose(x.dtype(), vectors, tile);
    let grid = tile.grid(output.rows as usize, output.columns as usize, 1);
    let (windows, output) = ([windows], [output]);
    let args =
        [(&windows).into(), x.into(), w.into(), bias.into(), residual.into(), y.into(), (&output).into()];
    // SAFETY: windows end at the image's edge and filters at the last; rows and columns of the output are below its
    // own. The buffers have the lengths of their shapes (the callers').
    unsafe { cuda.launch(&CONV2D_MMA, kernel, grid, &args) }
}

/// The gradient of the weight: `dw[o, kh, kw, c] = Σ x·dy` over the pixels. `x` and `dy` of one floating-point type,
/// shapes as for [`conv2d_forward_mma`]; `dw` `[O, KH, KW, C]` f32. One group.
pub fn conv2d_weight_grad_mma(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dw: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, dw, dy);
    assert_eq!(
        (dy.dtype(), dw.dtype()),
        (x.dtype(), Dtype::F32),
        "input and gradient of one type, weight f32"
    );
    let (k, lanes) = (dw.len() / g.o, x.dtype().lanes());
    let vectors = g.c.is_multiple_of(lanes) && g.o.is_multiple_of(lanes);
    // The slices share the multiprocessors too, so a large tile is worth having whenever it is full.
    let tile = if g.o > 64 && k > 64 { MmaTile::Square128 } else { MmaTile::Square64 };
    let (kernel, tile) = WEIGHT_GRAD.choose(x.dtype(), vectors, tile);
    let (count, slice) = slices(cuda, tile.blocks(g.o, k), dy.len() / g.o, x.dtype());
    let grid = tile.grid(g.o, k, count);
    let windows = [forward_windows(g)];
    sum_slices(cuda, count, false, dw, |sums| {
        let output = [Output::dense(g.o, k, Activation::None, sums)];
        let args = [(&windows).into(), x.into(), dy.into(), sums.into(), (&output).into(), slice.into()];
        // SAFETY: windows end at the image's edge, pixels at the last; `sums` has a `dw` for each slice of the grid.
        unsafe { cuda.launch(&CONV2D_MMA, kernel, grid, &args) }
    })
}

/// Refuses buffers of other lengths than `g`'s, and groups.
fn check(g: &Conv2d, x: &DeviceBuffer, w: &DeviceBuffer, y: &DeviceBuffer) {
    assert_eq!(
        (x.len(), w.len(), y.len()),
        (g.x_len(), g.w_len(), g.y_len()),
        "input, weight and output have the lengths of their shapes"
    );
    assert_eq!(g.groups, 1, "tensor cores take a convolution of one group");
}
