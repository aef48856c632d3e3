//! Convolution and linear layers on Hopper's tensor cores: bulk copies and wgmma, of 16-bit numbers or, of f32 buffers,
//! in TF32 (operands rounded to eleven bits of mantissa).

mod tensor_map;
mod weight_grad;

pub use weight_grad::*;

use crate::cuda::error::Result;
use crate::cuda::launch::{Arg, Grid};
use crate::cuda::mma::Class;
use crate::cuda::source::CONV2D_WGMMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::Dtype;
use crate::shapes::Conv2d;
use tensor_map::{MAX_BOX, MAX_STRIDE};

/// As `Problem` in conv2d_wgmma.cu.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Problem {
    /// Images, rows and columns of output pixels, filters.
    outputs: [i32; 4],
    /// Taps along height and width, channels.
    depth: [i32; 3],
    windows: Windows,
    /// Images, rows and columns of a block's output pixels.
    tile: [i32; 3],
    /// Blocks along rows, columns and filters.
    tiles: [i32; 3],
    activation: i32,
}

/// Along height and width: what output pixel `i` reads through tap `t`, and where it goes.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Windows {
    /// It reads x at `origin + i·stride + t·dilation`,
    stride: [i32; 2],
    origin: [i32; 2],
    dilation: [i32; 2],
    /// and the filter at `tap + t·tap_step`.
    tap: [i32; 2],
    tap_step: [i32; 2],
    /// It is pixel `first + i·step` of an image of `size`.
    size: [i32; 2],
    first: [i32; 2],
    step: [i32; 2],
}

/// Output pixels of a block, at most; bytes of channels of a step; threads of a block.
const PIXELS: usize = 128;
const ROW_BYTES: usize = 128;
const THREADS: usize = 288;
/// Edge of the tiles in which a weight is transposed.
const EDGE: usize = 32;

/// Whether the kernels of this module compute `g` on `cuda`: on `sm_90a`, one group, channels that are a multiple of 16
/// bytes (the copy engine's strides are), and strides of at most 8.
pub fn applies(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> bool {
    cuda.arch() == "sm_90a"
        && dtype != Dtype::U32
        && g.groups == 1
        && g.c.is_multiple_of(dtype.lanes())
        && g.stride.iter().all(|&s| s <= MAX_STRIDE)
}

/// `y = activation(x ∗ w + bias + residual)`: `x` `[N, H, W, C]`, `w` `[O, KH, KW, C]`, `y` and `residual`
/// `[N, OH, OW, O]`, all of one type; `bias` `[O]` in f32. Sums are f32 and rounded once; f32 operands become TF32.
///
/// # Panics
/// Where [`applies`] denies, or a buffer does not fit the geometry.
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
    let windows = Windows {
        stride: g.stride.map(int),
        origin: g.padding.map(|p| -int(p)),
        dilation: g.dilation.map(int),
        tap: [0; 2],
        tap_step: [1; 2],
        size: outputs.map(int),
        first: [0; 2],
        step: [1; 2],
    };
    run(cuda, g, windows, outputs, [g.kh, g.kw], [x, w], epilogue, y)
}

/// Whether [`conv2d_input_grad`] computes `g` on `cuda`: as [`applies`], with filters in place of channels, and any
/// stride.
pub fn applies_to_input_grad(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> bool {
    applies(cuda, &backwards(g), dtype)
}

/// The gradient of the input: `dy` `[N, OH, OW, O]`, `w` `[O, KH, KW, C]`, `dx` `[N, H, W, C]`, all of one type.
/// The pixels of dx that have the same remainders by the stride are a convolution of dy, with a stride of 1.
///
/// # Panics
/// Where [`applies_to_input_grad`] denies, or a buffer does not fit the geometry.
pub fn conv2d_input_grad(
    cuda: &Cuda,
    g: &Conv2d,
    dy: &DeviceBuffer,
    w: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = dy.dtype();
    assert!(applies_to_input_grad(cuda, g, dtype), "an input gradient for wgmma: {g:?} of {dtype:?}");
    let w = transposed(cuda, g, w, dtype)?;
    let [rows, columns] = [0, 1].map(|axis| Class::all(g, axis));
    if rows.iter().chain(&columns).any(|class| class.taps[2] == 0) {
        cuda.clear(dx)?; // pixels that no tap reaches
    }
    for (i, row) in rows.iter().enumerate() {
        for (j, column) in columns.iter().enumerate() {
            let part = |part: usize| [row, column].map(|class| class.taps[part]);
            if part(2).contains(&0) {
                continue;
            }
            let windows = Windows {
                stride: [1; 2],
                origin: [row.origin, column.origin],
                dilation: [row.dilation, column.dilation],
                tap: part(0).map(int),
                tap_step: part(1).map(int),
                size: [g.h, g.w].map(int),
                first: [i, j].map(int),
                step: g.stride.map(int),
            };
            let outputs = [row.count, column.count];
            run(cuda, &backwards(g), windows, outputs, part(2), [dy, &w], &Epilogue::default(), dx)?;
        }
    }
    Ok(())
}

/// The convolution that maps dy to dx, of one class of pixels.
fn backwards(g: &Conv2d) -> Conv2d {
    Conv2d { h: g.oh(), w: g.ow(), c: g.o, o: g.c, stride: [1, 1], ..*g }
}

/// `w` `[O, KH, KW, C]` as `[C, KH, KW, O]`.
fn transposed(cuda: &Cuda, g: &Conv2d, w: &DeviceBuffer, dtype: Dtype) -> Result<DeviceBuffer> {
    assert_eq!((w.dtype(), w.len()), (dtype, g.w_len()), "w: O·KH·KW·C, of dy's type");
    let kernel = if dtype.bytes() == 2 { "conv2d_transpose_weight_16" } else { "conv2d_transpose_weight_32" };
    let mut to = cuda.buffer(dtype, w.len())?;
    let grid = Grid {
        blocks: [g.c.div_ceil(EDGE), g.o.div_ceil(EDGE), g.kh * g.kw],
        threads: 8 * EDGE,
        shared: EDGE * (EDGE * dtype.bytes() + 4),
    };
    let args = [g.o.into(), (g.kh * g.kw).into(), g.c.into(), w.into(), (&mut to).into()];
    // SAFETY: a thread reads and writes only at o, tap, c below O, KH·KW, C: elements of both buffers.
    unsafe { cuda.launch(&CONV2D_WGMMA, kernel, grid, &args) }?;
    Ok(to)
}

/// Computes `oh`·`ow` pixels of every image, each through `kh`·`kw` taps: `x` and `w` have `g`'s shapes, y those that the windows name.
fn run(
    cuda: &Cuda,
    g: &Conv2d,
    windows: Windows,
    [oh, ow]: [usize; 2],
    [kh, kw]: [usize; 2],
    [x, w]: [&DeviceBuffer; 2],
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = x.dtype();
    let pixels = g.n * windows.size[0] as usize * windows.size[1] as usize;
    assert_eq!((w.dtype(), y.dtype(), y.len()), (dtype, dtype, pixels * g.o), "y: its pixels, of x's type");
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
        activation: epilogue.activation as i32,
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
    // SAFETY: the maps bound what is read of x and w; a thread stores images below N, pixels that lie inside `size` (the
    // callers') and filters below O, which y and the residual have, and the bias O (all asserted).
    unsafe { cuda.launch(&CONV2D_WGMMA, kernel(dtype, filters), grid, &args) }
}

fn int(n: usize) -> i32 {
    i32::try_from(n).expect("a size that a kernel's int holds")
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

/// The widest tile that still gives every multiprocessor a block, and of which `o` filters do not leave half unused.
fn filters_of_a_block(cuda: &Cuda, pixel_tiles: usize, o: usize) -> usize {
    let fits = |&filters: &usize| {
        o.next_multiple_of(64) >= filters && pixel_tiles * o.div_ceil(filters) >= cuda.multiprocessors()
    };
    [256, 128].into_iter().find(fits).unwrap_or(64)
}

/// Images × rows × columns of at most 128 output pixels, chosen to leave the fewest unused: powers of two, or a whole
/// dimension. Of equals the widest, whose inputs overlap most from tap to tap.
fn pixel_tile([n, oh, ow]: [usize; 3], stride: [usize; 2]) -> [usize; 3] {
    let candidates = |size: usize, stride: usize| {
        let most = size.min(PIXELS).min(MAX_BOX / stride);
        (0..8).map(|log| 1 << log).filter(move |&edge| edge <= most).chain([most])
    };
    let mut best = ([1, 1, 1], usize::MAX);
    for bw in candidates(ow, stride[1]) {
        for bh in candidates(oh, stride[0]).filter(|bh| bh * bw <= PIXELS) {
            for bn in candidates(n, 1).chain([n.min(PIXELS / (bh * bw))]).filter(|bn| bn * bh * bw <= PIXELS)
            {
                let tiles = n.div_ceil(bn) * oh.div_ceil(bh) * ow.div_ceil(bw);
                if tiles < best.1 || tiles == best.1 && bh * bw >= best.0[1] * best.0[2] {
                    best = ([bn, bh, bw], tiles);
                }
            }
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::pixel_tile;

    #[test]
    fn tiles_waste_little() {
        // Of 7 × 7 pixels no box is both full and whole.
        for (edge, least) in [(112, 0.97), (56, 0.97), (28, 0.97), (14, 0.97), (7, 0.87)] {
            for n in [64, 128, 256] {
                let [bn, bh, bw] = pixel_tile([n, edge, edge], [1, 1]);
                assert!(bn * bh * bw <= 128);
                let tiles = n.div_ceil(bn) * edge.div_ceil(bh) * edge.div_ceil(bw);
                let used = (n * edge * edge) as f64 / (tiles * 128) as f64;
                assert!(used > least, "{n}×{edge}×{edge}: {bn}×{bh}×{bw} uses {used}");
            }
        }
    }
}
