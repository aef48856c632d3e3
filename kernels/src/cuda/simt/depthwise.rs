//! Depthwise convolution, one filter per channel (`depthwise.cu`). The dispatching operations check shapes and types.

use super::patches::int;
use super::tiles::in_parts;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::Grid;
use crate::cuda::driver::source::DEPTHWISE;
use crate::cuda::ops::EpilogueArg;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::shapes::Conv2d;

/// Pixels of a row per thread (`PIXELS` in `depthwise.cu`).
const PIXELS: usize = 4;
/// Pixels that a block of the weight gradient processes at a time (`CHUNK`).
const CHUNK: usize = 256;
/// Channels of such a block.
const CHANNELS: usize = 32;
/// The maximum number of taps whose sums fit its shared memory: 64 KiB.
const MOST_TAPS: usize = 64;

/// Whether this path handles the convolution.
pub(super) fn applies(g: &Conv2d) -> bool {
    g.is_depthwise() && g.o == g.c && g.kh * g.kw <= MOST_TAPS
}

/// `Depthwise` in `depthwise.cu`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Geometry {
    sizes: [i32; 8],
    stride: [i32; 2],
    padding: [i32; 2],
    dilation: [i32; 2],
}

impl Geometry {
    fn new(g: &Conv2d) -> Self {
        int(g.n * g.oh() * g.ow());
        Self {
            sizes: [g.n, g.h, g.w, g.c, g.oh(), g.ow(), g.kh, g.kw].map(int),
            stride: g.stride.map(int),
            padding: g.padding.map(int),
            dilation: g.dilation.map(int),
        }
    }
}

/// A thread for each channel of each `PIXELS` pixels of a row.
fn grid(g: &Conv2d, rows: usize, columns: usize) -> Grid {
    Grid::over(g.n * rows * columns.div_ceil(PIXELS) * g.c)
}

pub(super) fn forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    end: EpilogueArg,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let (geometry, end) = ([Geometry::new(g)], [end]);
    let args = [(&geometry).into(), x.into(), w.into(), (&end).into(), y.into()];
    // SAFETY: pixels outside the image are not read, and none past the last is written.
    unsafe { cuda.launch(&DEPTHWISE, "depthwise_forward", grid(g, g.oh(), g.ow()), &args) }
}

pub(super) fn input_grad(
    cuda: &Cuda,
    g: &Conv2d,
    dy: &DeviceBuffer,
    w: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    let geometry = [Geometry::new(g)];
    let args = [(&geometry).into(), dy.into(), w.into(), dx.into()];
    // SAFETY: outputs outside the geometry are not read, and no pixel past the last is written.
    unsafe { cuda.launch(&DEPTHWISE, "depthwise_input_grad", grid(g, g.h, g.w), &args) }
}

pub(super) fn weight_grad(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dw: &mut DeviceBuffer,
) -> Result<()> {
    let (pixels, blocks) = (g.n * g.oh() * g.ow(), g.c.div_ceil(CHANNELS));
    // Eight blocks per multiprocessor, each of at least one chunk.
    let wanted = (8 * cuda.multiprocessors()).div_ceil(blocks);
    let each = pixels.div_ceil(wanted.min(65_535)).next_multiple_of(CHUNK);
    let parts = pixels.div_ceil(each);
    in_parts(cuda, parts, g.kh * g.kw, EpilogueArg::default(), dw, |dw, _| {
        let geometry = [Geometry::new(g)];
        let args = [(&geometry).into(), each.into(), x.into(), dy.into(), dw.into()];
        let grid = Grid { blocks: [blocks, parts, 1], threads: 256, shared: g.kh * g.kw * 256 * 4 };
        // SAFETY: pixels outside the image or past the last are not read; channels past the last are neither read nor
        // written; dw holds one gradient per part.
        unsafe { cuda.launch(&DEPTHWISE, "depthwise_weight_grad", grid, &args) }
    })
}
