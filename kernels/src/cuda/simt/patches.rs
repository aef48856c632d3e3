//! The patches of an image that a product reads in place, as a kernel argument.

use crate::cuda::DeviceBuffer;
use crate::cuda::ops::EpilogueArg;
use crate::params::Dtype;
use crate::shapes::Conv2d;

/// The patches of an image, and the destination of their results (`Patches` in `patches.cuh`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Patches {
    pub images: i32,
    pub h: i32,
    pub w: i32,
    pub c: i32,
    pub rows: i32,
    pub columns: i32,
    pub taps: [i32; 2],
    pub stride: [i32; 2],
    /// The distance between taps.
    pub tap: [i32; 2],
    /// The position of the first tap of the first patch.
    pub first: [i32; 2],
    /// Channels per group.
    pub channels: i32,
    pub out: [i32; 2],
    /// The distance between the results of neighboring patches.
    pub step: [i32; 2],
    pub start: [i32; 2],
}

/// `Convolution` in `conv2d_f32.cu`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Convolution {
    pub p: Patches,
    pub groups: i32,
    pub splits: i32,
    pub columns: i32,
    pub weight: [i32; 2],
    pub tap: [i32; 2],
    pub tap_step: [i32; 2],
    pub x: u64,
    pub w: u64,
    pub y: u64,
    pub part: u64,
    pub end: EpilogueArg,
}

/// Converts a size to a kernel's `int`.
pub(super) fn int(size: usize) -> i32 {
    i32::try_from(size).expect("a size below 2³¹")
}

impl Patches {
    /// Patches of `x`, one per output pixel.
    pub fn of_input(g: &Conv2d) -> Self {
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

/// Asserts that the buffers are f32 and have the lengths of `g`'s shapes.
pub(super) fn check(g: &Conv2d, x: &DeviceBuffer, w: &DeviceBuffer, y: &DeviceBuffer) {
    assert_eq!(
        (x.len(), w.len(), y.len()),
        (g.x_len(), g.w_len(), g.y_len()),
        "the lengths of input, weight and output match their shapes"
    );
    assert!([x, w, y].iter().all(|buffer| buffer.dtype() == Dtype::F32), "images and weights are f32");
}
