//! A convolution as a kernel argument, and its launch.

use super::tiles::{PIXELS, filters_of_a_block, pixel_tile};
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::CONV2D_WGMMA;
use crate::cuda::ops::ClampArg;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::Dtype;
use crate::shapes::Conv2d;

/// `Problem` in conv2d_wgmma.cu.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Problem {
    /// Images, rows and columns of output pixels, filters.
    outputs: [i32; 4],
    /// Taps along height and width, channels.
    depth: [i32; 3],
    windows: WindowsArg,
    /// Images, rows and columns of a block's output pixels.
    tile: [i32; 3],
    /// Blocks along rows, columns and filters.
    tiles: [i32; 3],
    activation: ClampArg,
}

/// The geometry along height and width: the inputs of output pixel `i` through tap `t`, and its destination.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct WindowsArg {
    /// Pixel `i` reads x at `origin + i·stride + t·dilation`,
    pub stride: [i32; 2],
    pub origin: [i32; 2],
    pub dilation: [i32; 2],
    /// and the filter at `tap + t·tap_step`.
    pub tap: [i32; 2],
    pub tap_step: [i32; 2],
    /// It is stored at pixel `first + i·step` of an image of `size`.
    pub size: [i32; 2],
    pub first: [i32; 2],
    pub step: [i32; 2],
}

/// Bytes of channels per step.
const ROW_BYTES: usize = 128;
const THREADS: usize = 288;

/// The output pixels of a launch: all of them, or those of one pair of residues.
pub(super) struct Pixels {
    pub windows: WindowsArg,
    /// Rows and columns of output pixels.
    pub outputs: [usize; 2],
    /// Taps of each along height and width.
    pub taps: [usize; 2],
}

/// Computes `pixels` of every image. `x` and `w` have `g`'s shapes, and y has the shape that the windows give.
pub(super) fn run(
    cuda: &Cuda,
    g: &Conv2d,
    pixels: &Pixels,
    [x, w]: [&DeviceBuffer; 2],
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = x.dtype();
    let &Pixels { windows, outputs: [oh, ow], taps: [kh, kw] } = pixels;
    let stored = g.n * windows.size[0] as usize * windows.size[1] as usize;
    assert_eq!(
        (w.dtype(), y.dtype(), y.len()),
        (dtype, dtype, stored * g.o),
        "w and y have x's type, and y holds its pixels"
    );
    epilogue.check(g.o, y);
    let stride = windows.stride.map(|s| s as usize);
    let tile = pixel_tile([g.n, oh, ow], stride);
    let tiles = [g.n.div_ceil(tile[0]), oh.div_ceil(tile[1]), ow.div_ceil(tile[2])];
    let pixel_tiles: usize = tiles.iter().product();
    let filters = filters_of_a_block(cuda, pixel_tiles, g.o);
    let filter_tiles = g.o.div_ceil(filters);
    let [bn, bh, bw] = tile;
    let channels = ROW_BYTES / dtype.bytes();
    let x_map = [cuda.tensor_map(x, g.x_shape(), [bn, bh, bw, channels], stride)?];
    let w_map = [cuda.tensor_map(w, g.w_shape(), [filters, 1, 1, channels], [1, 1])?];
    let problem = [Problem {
        outputs: [g.n, oh, ow, g.o].map(int),
        depth: [kh, kw, g.c].map(int),
        windows,
        tile: tile.map(int),
        tiles: [tiles[1], tiles[2], filter_tiles].map(int),
        activation: epilogue.activation.into(),
    }];
    let args: [Arg; 6] = [
        (&x_map).into(),
        (&w_map).into(),
        (&problem).into(),
        epilogue.bias.into(),
        epilogue.residual.into(),
        y.into(),
    ];
    let stages = if filters == 256 { 4 } else { 3 };
    let grid =
        Grid::of(pixel_tiles * filter_tiles, THREADS).shared(stages * (PIXELS + filters) * ROW_BYTES + 1024);
    // SAFETY: the maps bound the reads of x and w. A thread stores at images below N, pixels inside `size` (ensured
    // by the callers) and filters below O; y and the residual hold these elements, and the bias holds O (all
    // asserted).
    unsafe { cuda.launch(&CONV2D_WGMMA, kernel(dtype, filters), grid, &args) }
}

pub(super) fn int(n: usize) -> i32 {
    i32::try_from(n).expect("a size that fits a kernel's int")
}

fn kernel(dtype: Dtype, filters: usize) -> &'static str {
    match (dtype, filters) {
        (Dtype::Bf16, 64) => "conv2d_forward_wgmma_bf16_64",
        (Dtype::Bf16, 128) => "conv2d_forward_wgmma_bf16_128",
        (Dtype::Bf16, 256) => "conv2d_forward_wgmma_bf16_256",
        (Dtype::F16, 64) => "conv2d_forward_wgmma_f16_64",
        (Dtype::F16, 128) => "conv2d_forward_wgmma_f16_128",
        (Dtype::F16, 256) => "conv2d_forward_wgmma_f16_256",
        (Dtype::F32, 64) => "conv2d_forward_wgmma_tf32_64",
        (Dtype::F32, 128) => "conv2d_forward_wgmma_tf32_128",
        (Dtype::F32, 256) => "conv2d_forward_wgmma_tf32_256",
        other => unreachable!("no wgmma kernel for {other:?}"),
    }
}
