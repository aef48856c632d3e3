//! Products of f32 by the ordinary units, which multiply in single precision: matrix products, and convolution over
//! channels-last images as an implicit matrix product (`gemm_f32.cu`, `conv2d_f32.cu`).
//!
//! Each of a convolution's three products reads patches of an image in place. What differs is a `Patches`: of `x` at the output
//! pixels, or of `dy` at the input pixels of one remainder modulo the stride.

mod compact;
mod depthwise;
mod forward;
mod gemm;
mod input_grad;
mod masked;
mod selected;
mod tiles;
mod weight_grad;

pub use compact::{Compact, conv2d_compact_forward};
pub use forward::conv2d_forward;
pub use gemm::{FEW_ROWS, gemm, linear_forward};
pub use input_grad::conv2d_input_grad;
pub use masked::{Mask, conv2d_masked_forward};
pub use weight_grad::conv2d_weight_grad;

use super::DeviceBuffer;
use super::epilogue::EpilogueArg;
use crate::params::Dtype;
use crate::shapes::Conv2d;

/// The patches of an image, and where their results go (`Patches` in `patches.cuh`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Patches {
    images: i32,
    h: i32,
    w: i32,
    c: i32,
    rows: i32,
    columns: i32,
    taps: [i32; 2],
    stride: [i32; 2],
    /// Between taps.
    tap: [i32; 2],
    /// Where the first tap of the first patch lies.
    first: [i32; 2],
    /// Of a group.
    channels: i32,
    out: [i32; 2],
    /// Between the results of neighbouring patches.
    step: [i32; 2],
    start: [i32; 2],
}

/// `Convolution` in `conv2d_f32.cu`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Convolution {
    p: Patches,
    groups: i32,
    splits: i32,
    columns: i32,
    weight: [i32; 2],
    tap: [i32; 2],
    tap_step: [i32; 2],
    x: u64,
    w: u64,
    y: u64,
    part: u64,
    end: EpilogueArg,
}

/// Input channels that a mask leaves out together: what a tile of the reduction holds.
pub const BLOCK: usize = tiles::STEP;

/// A size as a kernel takes it.
fn int(size: usize) -> i32 {
    i32::try_from(size).expect("a size below 2³¹")
}

impl Patches {
    /// Patches of `x`, one an output pixel.
    fn of_input(g: &Conv2d) -> Self {
        let (oh, ow) = (int(g.oh()), int(g.ow()));
        int(g.n * g.oh() * g.ow());
        Self {
            images: int(g.n),
            h: int(g.h),
            w: int(g.w),
            c: int(g.c),
            rows: oh,
            columns: ow,
            taps: [int(g.kh), int(g.kw)],
            stride: g.stride.map(int),
            tap: g.dilation.map(int),
            first: g.padding.map(|padding| -int(padding)),
            channels: int(g.c / g.groups),
            out: [oh, ow],
            step: [1, 1],
            start: [0, 0],
        }
    }
}

/// Asserts that the buffers are f32s of the lengths of `g`'s shapes.
fn check(g: &Conv2d, x: &DeviceBuffer, w: &DeviceBuffer, y: &DeviceBuffer) {
    assert_eq!(
        (x.len(), w.len(), y.len()),
        (g.x_len(), g.w_len(), g.y_len()),
        "input, weight and output have the lengths of their shapes"
    );
    assert!([x, w, y].iter().all(|buffer| buffer.dtype() == Dtype::F32), "images and weights of f32");
}
