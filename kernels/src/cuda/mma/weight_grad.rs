//! The gradient of a convolution's weight.

use super::forward::check;
use super::output::Output;
use super::slices::{Slices, sum_slices};
use super::tiles::{Kernels, Tile, grades};
use super::windows_arg::WindowsArg;
use crate::cuda::driver::Result;
use crate::cuda::driver::source::CONV2D_MMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::{Activation, Dtype};
use crate::shapes::Conv2d;

const WEIGHT_GRAD: Kernels = Kernels {
    tiles: &[
        (Tile::Square128, grades!("conv2d_mma_weight_grad", "_128x128")),
        (Tile::Square64, grades!("conv2d_mma_weight_grad", "_64x64")),
    ],
    any: grades!("conv2d_mma_weight_grad", "_any"),
};

/// Computes the gradient of the weight: `dw[o, kh, kw, c] = Σ x·dy` over the pixels. `x` and `dy` share one
/// floating-point type; shapes as for [`conv2d_forward`](super::conv2d_forward); `dw` is `[O, KH, KW, C]` f32. One
/// group only.
pub fn conv2d_weight_grad(
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
        "input and gradient have the same type, and the weight gradient is f32"
    );
    let (k, lanes) = (dw.len() / g.o, x.dtype().lanes());
    let vectors = g.c.is_multiple_of(lanes) && g.o.is_multiple_of(lanes);
    // Slices also keep the multiprocessors busy, so a large tile pays off whenever it is full.
    let tile = if g.o > 64 && k > 64 { Tile::Square128 } else { Tile::Square64 };
    let (kernel, tile) = WEIGHT_GRAD.choose(x.dtype(), vectors, tile);
    let slices = Slices::filling(cuda, tile.blocks(g.o, k), dy.len() / g.o, x.dtype());
    let grid = tile.grid(g.o, k, slices.count);
    let windows = [WindowsArg::forward(g)];
    let output = Output::dense(g.o, k, Activation::None, dw);
    sum_slices(cuda, slices.count, output, &Epilogue::default(), dw, |output, _, sums| {
        let output = [output];
        let args = [(&windows).into(), x.into(), dy.into(), sums.into(), (&output).into(), slices.len.into()];
        // SAFETY: windows stop at the image's edge and pixels at the last; `sums` has one `dw` for each slice of the
        // grid.
        unsafe { cuda.launch(&CONV2D_MMA, kernel, grid, &args) }
    })
}
