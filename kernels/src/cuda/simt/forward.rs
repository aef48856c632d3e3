//! The forward pass of a convolution.

use super::depthwise;
use super::patches::{Convolution, Patches, check, int};
use super::tiles::{Blocking, in_parts, kernel};
use crate::cuda::driver::Result;
use crate::cuda::driver::source::CONV2D_F32;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::shapes::Conv2d;

/// Convolution with a fused epilogue: `y = activation(x ∗ w + bias + residual)`.
/// `x` `[N, H, W, C]`, `w` `[O, KH, KW, C/G]`, `bias` `[O]` → `y` `[N, OH, OW, O]`, all f32.
pub fn conv2d_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, w, y);
    epilogue.check(g.o, y);
    if depthwise::applies(g) {
        return depthwise::forward(cuda, g, x, w, epilogue.arg(), y);
    }
    let (pixels, filters) = (g.n * g.oh() * g.ow(), g.o / g.groups);
    let blocking = Blocking::new(cuda, g.groups, pixels, filters, g.w_len() / g.o);
    in_parts(cuda, blocking.splits, g.o, epilogue.arg(), y, |y, end| {
        let convolution = Convolution {
            p: Patches::of_input(g),
            groups: int(g.groups),
            splits: int(blocking.splits),
            columns: int(filters),
            weight: [0; 2],
            tap: [0; 2],
            tap_step: [0; 2],
            x: x.address(),
            w: w.address(),
            y: y.address(),
            part: g.y_len() as u64,
            end,
        };
        let name = kernel!(blocking.tile, "conv2d_forward");
        let grid = blocking.grid(g.groups, pixels, filters);
        // SAFETY: taps outside the image are not read, nor are pixels, filters or steps past the last. The buffers
        // have the lengths of their shapes (asserted), and y that of all parts.
        unsafe { cuda.launch(&CONV2D_F32, name, grid, &[(&[convolution]).into()]) }
    })
}
