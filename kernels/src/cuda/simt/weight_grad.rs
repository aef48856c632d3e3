//! The gradient of the weight: a product that reduces over pixels. If the result is small and the pixels many, the
//! reduction is split into ranges of pixels, each with a partial gradient.

use super::depthwise;
use super::patches::{Patches, check, int};
use super::tiles::{Blocking, in_parts, kernel};
use crate::cuda::driver::Result;
use crate::cuda::driver::source::CONV2D_F32;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::shapes::Conv2d;

/// `WeightGrad` in `conv2d_f32.cu`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct WeightGrad {
    p: Patches,
    groups: i32,
    splits: i32,
    filters: i32,
    x: u64,
    dy: u64,
    dw: u64,
}

/// The gradient of the weight: `x` `[N, H, W, C]`, `dy` `[N, OH, OW, O]` → `dw` `[O, KH, KW, C/G]`, all f32.
pub fn conv2d_weight_grad(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dw: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, dw, dy);
    if depthwise::applies(g) {
        return depthwise::weight_grad(cuda, g, x, dy, dw);
    }
    let (filters, columns) = (g.o / g.groups, g.w_len() / g.o);
    let blocking = Blocking::new(cuda, g.groups, filters, columns, g.n * g.oh() * g.ow());
    in_parts(cuda, blocking.splits, columns, Epilogue::default().arg(), dw, |dw, _| {
        let product = WeightGrad {
            p: Patches::of_input(g),
            groups: int(g.groups),
            splits: int(blocking.splits),
            filters: int(filters),
            x: x.address(),
            dy: dy.address(),
            dw: dw.address(),
        };
        let name = kernel!(blocking.tile, "conv2d_weight_grad");
        let grid = blocking.grid(g.groups, filters, columns);
        // SAFETY: taps outside the image are not read, nor are pixels, filters or columns past the last. The buffers
        // have the lengths of their shapes (asserted), and dw that of all parts.
        unsafe { cuda.launch(&CONV2D_F32, name, grid, &[(&[product]).into()]) }
    })
}
