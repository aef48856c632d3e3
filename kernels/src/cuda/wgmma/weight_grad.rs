//! The gradient of a convolution's weight on Hopper's tensor cores, in 16-bit types.

use super::applies;
use super::tensor_map::MAX_BOX;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::CONV2D_WEIGHT_GRAD_WGMMA;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;
use crate::shapes::Conv2d;

/// `Problem` in conv2d_weight_grad_wgmma.cu.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct WeightGrad {
    /// O, C, KH, KW.
    w: [i32; 4],
    stride: [i32; 2],
    padding: [i32; 2],
    dilation: [i32; 2],
    /// Images, rows and columns of a stage's output pixels.
    tile: [i32; 3],
    /// The number of such tiles along each dimension.
    boxes: [i32; 3],
    /// Blocks along filters and channels, and the number of splits of the pixels.
    filter_tiles: i32,
    channel_tiles: i32,
    splits: i32,
}

/// Output pixels per stage; filters per block; channels per row of shared memory; threads.
const PIXELS: usize = 64;
const FILTERS: usize = 128;
const ATOM: usize = 64;
const THREADS: usize = 288;

/// The fewest stages that justify a separate block.
const LEAST_STAGES: usize = 8;

/// Whether [`conv2d_weight_grad`] can compute `g` on `cuda`: as [`applies`], for 16-bit types only, with filters that
/// are also a multiple of 8.
pub fn applies_to_weight_grad(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> bool {
    applies(cuda, g, dtype) && dtype.bytes() == 2 && g.o.is_multiple_of(dtype.lanes())
}

/// Computes the gradient of the weight: `x` `[N, H, W, C]` and `dy` `[N, OH, OW, O]` of one 16-bit type, `dw`
/// `[O, KH, KW, C]` in f32. Calls with the same operands on the same device give the same bits.
///
/// # Panics
/// If [`applies_to_weight_grad`] is false, or a buffer does not match the geometry.
pub fn conv2d_weight_grad(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dw: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = x.dtype();
    assert!(applies_to_weight_grad(cuda, g, dtype), "a weight gradient for wgmma: {g:?} of {dtype:?}");
    assert_eq!(dy.dtype(), dtype, "dy has x's type");
    assert_eq!((dw.dtype(), dw.len()), (Dtype::F32, g.w_len()), "dw holds O·KH·KW·C f32s");
    let (oh, ow) = (g.oh(), g.ow());
    let tile = pixel_box([oh, ow], g.stride);
    let [bn, bh, bw] = tile;
    let boxes = [g.n.div_ceil(bn), oh.div_ceil(bh), ow.div_ceil(bw)];
    let stages: usize = boxes.iter().product();
    let channels = [256, 128].into_iter().find(|&tile| g.c.next_multiple_of(64) >= tile).unwrap_or(64);
    let tiles = [g.o.div_ceil(FILTERS), g.c.div_ceil(channels)];
    let places = g.kh * g.kw * tiles[0] * tiles[1];
    let per_multiprocessor = if channels == 256 { 1 } else { 2 };
    let wanted = (per_multiprocessor * cuda.multiprocessors()).div_ceil(places);
    let splits = wanted.min(stages.div_ceil(LEAST_STAGES));
    let dy_map = [cuda.tensor_map(dy, g.y_shape(), [bn, bh, bw, ATOM], [1, 1])?];
    let x_map = [cuda.tensor_map(x, g.x_shape(), [bn, bh, bw, ATOM], g.stride)?];
    let int = |n: usize| i32::try_from(n).expect("a size that fits a kernel's int");
    let problem = [WeightGrad {
        w: [g.o, g.c, g.kh, g.kw].map(int),
        stride: g.stride.map(int),
        padding: g.padding.map(int),
        dilation: g.dilation.map(int),
        tile: tile.map(int),
        boxes: boxes.map(int),
        filter_tiles: int(tiles[0]),
        channel_tiles: int(tiles[1]),
        splits: int(splits),
    }];
    let mut partial = if splits > 1 { Some(cuda.buffer(Dtype::F32, splits * dw.len())?) } else { None };
    let args: [Arg; 4] =
        [(&dy_map).into(), (&x_map).into(), (&problem).into(), partial.as_mut().unwrap_or(dw).into()];
    let ring = if channels == 256 { 4 } else { 3 } * (FILTERS + channels) * PIXELS * dtype.bytes();
    let grid = Grid::of(places * splits, THREADS).shared(ring + 1024);
    // SAFETY: the maps bound the reads; a thread writes at a split, o, tap and c inside the workspace, or inside dw
    // if there is one split.
    unsafe { cuda.launch(&CONV2D_WEIGHT_GRAD_WGMMA, kernel(dtype, channels), grid, &args) }?;
    let Some(partial) = partial else { return Ok(()) };
    let args = [splits.into(), Arg::from(dw.len() as u64), (&partial).into(), dw.into()];
    // SAFETY: a thread reads its element of every split and writes its element of dw, if it exists.
    unsafe { cuda.launch(&CONV2D_WEIGHT_GRAD_WGMMA, "conv2d_weight_grad_add", Grid::over(g.w_len()), &args) }
}

fn kernel(dtype: Dtype, channels: usize) -> &'static str {
    match (dtype, channels) {
        (Dtype::Bf16, 64) => "conv2d_weight_grad_wgmma_bf16_64",
        (Dtype::Bf16, 128) => "conv2d_weight_grad_wgmma_bf16_128",
        (Dtype::Bf16, 256) => "conv2d_weight_grad_wgmma_bf16_256",
        (Dtype::F16, 64) => "conv2d_weight_grad_wgmma_f16_64",
        (Dtype::F16, 128) => "conv2d_weight_grad_wgmma_f16_128",
        (Dtype::F16, 256) => "conv2d_weight_grad_wgmma_f16_256",
        other => unreachable!("no wgmma kernel for {other:?}"),
    }
}

/// Images × rows × columns of 64 output pixels, all powers of two: the largest edges up to 8 that divide the image's,
/// and the number of images that fills the box.
fn pixel_box([oh, ow]: [usize; 2], stride: [usize; 2]) -> [usize; 3] {
    let edge = |size: usize, stride: usize| {
        let divides = |edge: &usize| size.is_multiple_of(*edge) && edge * stride <= MAX_BOX;
        [8, 4, 2].into_iter().find(divides).unwrap_or(1)
    };
    let (bh, bw) = (edge(oh, stride[0]), edge(ow, stride[1]));
    [PIXELS / (bh * bw), bh, bw]
}
