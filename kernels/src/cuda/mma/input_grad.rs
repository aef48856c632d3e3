//! The gradient of a convolution's input: a forward convolution of `dy` for each pair of residues of the stride.

use super::forward::{FORWARD, check, launch_forward};
use super::output::Output;
use super::windows_arg::WindowsArg;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::CONV2D_MMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::Activation;
use crate::residue::Residue;
use crate::shapes::Conv2d;
use bytemuck::{Pod, Zeroable};

/// Computes the gradient of the input: `dx[pixel] = Σ dy·w` over the windows that contain the pixel. `dy`, `w` and
/// `dx` share one floating-point type; shapes as for [`conv2d_forward`](super::conv2d_forward). One group only.
///
/// The pixels of each pair of residues are a forward convolution of `dy` with the taps that reach them, at stride 1.
pub fn conv2d_input_grad(
    cuda: &Cuda,
    g: &Conv2d,
    dy: &DeviceBuffer,
    w: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    check(g, dx, w, dy);
    assert_eq!((w.dtype(), dx.dtype()), (dy.dtype(), dy.dtype()), "gradients and weight have the same type");
    let [rows, columns] = [0, 1].map(|axis| Residue::along(g, axis));
    for row in &rows {
        for column in &columns {
            input_grad_of(cuda, g, [row, column], [dy, w], dx)?;
        }
    }
    Ok(())
}

/// Parameters for transposing filters and selecting taps: `[O, KH, KW, C]` becomes `[C, taps, taps, O]`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Phase {
    /// O, KH, KW, C.
    filters: [i32; 4],
    first: [i32; 2],
    step: [i32; 2],
    taps: [i32; 2],
}

/// Writes the pixels of `dx` with these residues.
fn input_grad_of(
    cuda: &Cuda,
    g: &Conv2d,
    residues: [&Residue; 2],
    [dy, w]: [&DeviceBuffer; 2],
    dx: &mut DeviceBuffer,
) -> Result<()> {
    let taps = residues.map(|residue| residue.taps);
    let ints = |part: fn(&Residue) -> usize| residues.map(|residue| part(residue) as i32);
    let filters = [g.o, g.kh, g.kw, g.c].map(|n| n as i32);
    let phase =
        [Phase { filters, first: ints(|r| r.first_tap), step: ints(|r| r.tap_step), taps: ints(|r| r.taps) }];
    let mut turned = cuda.buffer(w.dtype(), g.c * taps[0] * taps[1] * g.o)?;
    let args = [Arg::Int(w.dtype() as i32), (&phase).into(), w.into(), (&mut turned).into()];
    // SAFETY: each thread writes one element of `turned`, if it exists, from a tap and a channel inside `w`.
    unsafe { cuda.launch(&CONV2D_MMA, "conv2d_mma_turn_filters", Grid::over(turned.len()), &args)? };

    let positions = residues.map(|residue| residue.count);
    let origin = residues.map(|residue| residue.origin as i32);
    let dilation = residues.map(|residue| -(residue.distance as i32));
    let windows = WindowsArg::new(g.y_shape(), positions, taps, [[1; 2], origin, dilation]);
    let rows = g.n * positions[0] * positions[1];
    let output = Output {
        scattered: 1,
        size: [g.h, g.w].map(|n| n as i32),
        step: g.stride.map(|s| s as i32),
        first: ints(|r| r.first),
        by_rows: windows.by_rows,
        by_columns: windows.by_columns,
        ..Output::dense(rows, g.c, Activation::None, dx)
    };
    let blocking = FORWARD.blocking(cuda, [rows, g.c, turned.len() / g.c], dy.dtype());
    launch_forward(cuda, blocking, windows, output, [dy, &turned], &Epilogue::default(), dx)
}
