//! The gradient of the input: a forward convolution of `dy` for each pair of residues of the stride.

use super::applies;
use super::problem::{Pixels, WindowsArg, int, run};
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::Grid;
use crate::cuda::driver::source::CONV2D_WGMMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::Dtype;
use crate::residue::Residue;
use crate::shapes::Conv2d;

/// The edge of the tiles in which a weight is transposed.
const EDGE: usize = 32;

/// Whether [`conv2d_input_grad`] can compute `g` on `cuda`: as [`applies`], with filters in place of channels, and
/// any stride.
pub fn applies_to_input_grad(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> bool {
    applies(cuda, &backwards(g), dtype)
}

/// Computes the gradient of the input: `dy` `[N, OH, OW, O]`, `w` `[O, KH, KW, C]`, `dx` `[N, H, W, C]`, all of one
/// type. The pixels of dx for each pair of residues are a convolution of dy with stride 1.
///
/// # Panics
/// If [`applies_to_input_grad`] is false, or a buffer does not match the geometry.
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
    let [rows, columns] = [0, 1].map(|axis| Residue::along(g, axis));
    if rows.iter().chain(&columns).any(|residue| residue.taps == 0) {
        cuda.clear(dx)?; // pixels that no tap reaches
    }
    for row in rows.iter().filter(|row| row.taps > 0) {
        for column in columns.iter().filter(|column| column.taps > 0) {
            let pair = |part: fn(&Residue) -> usize| [part(row), part(column)];
            let windows = WindowsArg {
                stride: [1; 2],
                origin: [row, column].map(|r| r.origin as i32),
                dilation: pair(|r| r.distance).map(|distance| -int(distance)),
                tap: pair(|r| r.first_tap).map(int),
                tap_step: pair(|r| r.tap_step).map(int),
                size: [g.h, g.w].map(int),
                first: pair(|r| r.first).map(int),
                step: g.stride.map(int),
            };
            let pixels = Pixels { windows, outputs: pair(|r| r.count), taps: pair(|r| r.taps) };
            run(cuda, &backwards(g), &pixels, [dy, &w], &Epilogue::default(), dx)?;
        }
    }
    Ok(())
}

/// The convolution that maps dy to dx for one pair of residues.
fn backwards(g: &Conv2d) -> Conv2d {
    Conv2d { h: g.oh(), w: g.ow(), c: g.o, o: g.c, stride: [1, 1], ..*g }
}

/// Transposes `w` from `[O, KH, KW, C]` to `[C, KH, KW, O]`.
fn transposed(cuda: &Cuda, g: &Conv2d, w: &DeviceBuffer, dtype: Dtype) -> Result<DeviceBuffer> {
    assert_eq!((w.dtype(), w.len()), (dtype, g.w_len()), "w holds O·KH·KW·C elements of dy's type");
    let kernel = if dtype.bytes() == 2 { "conv2d_transpose_weight_16" } else { "conv2d_transpose_weight_32" };
    let mut to = cuda.buffer(dtype, w.len())?;
    let grid = Grid {
        blocks: [g.c.div_ceil(EDGE), g.o.div_ceil(EDGE), g.kh * g.kw],
        threads: 8 * EDGE,
        shared: EDGE * (EDGE * dtype.bytes() + 4),
    };
    let args = [g.o.into(), (g.kh * g.kw).into(), g.c.into(), w.into(), (&mut to).into()];
    // SAFETY: a thread reads and writes only at o, tap, c below O, KH·KW, C, which are elements of both buffers.
    unsafe { cuda.launch(&CONV2D_WGMMA, kernel, grid, &args) }?;
    Ok(to)
}
