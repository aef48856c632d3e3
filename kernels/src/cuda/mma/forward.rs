//! The forward pass of a convolution.

use super::output::Output;
use super::slices::{Slices, sum_slices};
use super::tiles::{Blocking, Kernels, Tile, grades};
use super::windows_arg::WindowsArg;
use crate::cuda::driver::Result;
use crate::cuda::driver::source::CONV2D_MMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::Dtype;
use crate::shapes::Conv2d;

pub(super) const FORWARD: Kernels = Kernels {
    tiles: &[
        (Tile::Square128, grades!("conv2d_mma_forward", "_128x128")),
        (Tile::Tall128, grades!("conv2d_mma_forward", "_128x64")),
        (Tile::Square64, grades!("conv2d_mma_forward", "_64x64")),
    ],
    any: grades!("conv2d_mma_forward", "_any"),
};

/// Computes `y = activation(x ∗ w + bias + residual)`: `x` `[N, H, W, C]`, `w` `[O, KH, KW, C]`, `bias` `[O]` f32,
/// `residual` and `y` `[N, OH, OW, O]`; all but the bias share one floating-point type. One group only.
pub fn conv2d_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    conv2d_forward_blocked(cuda, forward_blocking(cuda, g, x.dtype()), g, x, w, epilogue, y)
}

/// Whether `g` has so few tiles that [`conv2d_forward`] splits each among at least four blocks of `cuda`.
pub fn shares_tiles(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> bool {
    forward_blocking(cuda, g, dtype).slices >= 4
}

fn forward_blocking(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> Blocking {
    FORWARD.blocking(cuda, [g.n * g.oh() * g.ow(), g.o, g.kh * g.kw * g.c], dtype)
}

/// [`conv2d_forward`] with the caller's blocking; a separate tile handles channels that do not fill whole vectors.
pub fn conv2d_forward_blocked(
    cuda: &Cuda,
    blocking: Blocking,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, w, y);
    assert_eq!((w.dtype(), y.dtype()), (x.dtype(), x.dtype()), "input, weight and output have the same type");
    epilogue.check(g.o, y);
    let output = Output::dense(y.len() / g.o, g.o, epilogue.activation, y);
    launch_forward(cuda, blocking, WindowsArg::forward(g), output, [x, w], epilogue, y)
}

/// Multiplies the windows of `x` by the filters `w`, which are stored tap by tap.
pub(super) fn launch_forward(
    cuda: &Cuda,
    blocking: Blocking,
    windows: WindowsArg,
    output: Output,
    [x, w]: [&DeviceBuffer; 2],
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let vectors = (windows.channels as usize).is_multiple_of(x.dtype().lanes());
    let (kernel, tile) = FORWARD.choose(x.dtype(), vectors, blocking.tile);
    let slices = Slices::at_most(blocking.slices, (windows.taps * windows.channels) as usize, x.dtype());
    let grid = tile.grid(output.rows as usize, output.columns as usize, slices.count);
    let windows = [windows];
    sum_slices(cuda, slices.count, output, epilogue, y, |output, epilogue, y| {
        let output = [output];
        let args = [
            (&windows).into(),
            x.into(),
            w.into(),
            epilogue.bias.into(),
            epilogue.residual.into(),
            y.into(),
            (&output).into(),
            slices.len.into(),
        ];
        // SAFETY: windows stop at the image's edge and filters at the last one; output rows and columns are below its
        // row and column counts, in each slice of the grid. The callers check that buffers have the lengths of their
        // shapes.
        unsafe { cuda.launch(&CONV2D_MMA, kernel, grid, &args) }
    })
}

/// Checks that the buffers have the lengths of `g`'s shapes, and that `g` has one group.
pub(super) fn check(g: &Conv2d, x: &DeviceBuffer, w: &DeviceBuffer, y: &DeviceBuffer) {
    assert_eq!(
        (x.len(), w.len(), y.len()),
        (g.x_len(), g.w_len(), g.y_len()),
        "the lengths of input, weight and output match their shapes"
    );
    assert_eq!(g.groups, 1, "tensor-core convolutions have one group");
}
