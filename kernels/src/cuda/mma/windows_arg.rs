//! The windows of a convolution, as its kernels read them.

use super::divide::Divide;
use crate::shapes::Conv2d;
use bytemuck::{Pod, Zeroable};

/// The windows of a convolution. Tap `t` at position `i` reads row `i·stride + origin + t·dilation` of the array, if
/// it is inside; likewise along the width.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct WindowsArg {
    /// The shape of the array that is read, `[images, h, w, c]`.
    pub shape: [i32; 4],
    /// Positions per image, along height and width.
    pub positions: [i32; 2],
    /// Taps of a window along the height; `taps` counts all of them.
    pub taps_h: i32,
    pub taps: i32,
    pub channels: i32,
    pub stride: [i32; 2],
    pub origin: [i32; 2],
    pub dilation: [i32; 2],
    pub by_rows: Divide,
    pub by_columns: Divide,
    pub by_channels: Divide,
    pub by_taps_w: Divide,
}

impl WindowsArg {
    /// # Panics
    /// If the array's images, the positions, or the products of a window exceed what a kernel's ints can count.
    pub fn new(
        shape: [usize; 4],
        positions: [usize; 2],
        taps: [usize; 2],
        [stride, origin, dilation]: [[i32; 2]; 3],
    ) -> Self {
        // A tile may begin inside and extend past the end.
        let countable = |n: usize| n < (1 << 31) - 256;
        let k = taps[0] * taps[1] * shape[3];
        assert!(
            countable(shape[1..].iter().product())
                && countable(shape[0] * positions[0] * positions[1])
                && countable(k),
            "an image, the positions and the products of a window are each fewer than 2³¹"
        );
        Self {
            shape: shape.map(|n| n as i32),
            positions: positions.map(|n| n as i32),
            taps_h: taps[0] as i32,
            taps: (taps[0] * taps[1]) as i32,
            channels: shape[3] as i32,
            stride,
            origin,
            dilation,
            by_rows: Divide::by(positions[0]),
            by_columns: Divide::by(positions[1]),
            by_channels: Divide::by(shape[3]),
            by_taps_w: Divide::by(taps[1].max(1)),
        }
    }

    /// The windows of `g` over its input.
    pub fn forward(g: &Conv2d) -> Self {
        let [stride, dilation] = [g.stride, g.dilation].map(|pair| pair.map(|n| n as i32));
        let origin = g.padding.map(|p| -(p as i32));
        Self::new(g.x_shape(), [g.oh(), g.ow()], [g.kh, g.kw], [stride, origin, dilation])
    }

    /// The same windows over `channels` of the array's channels.
    pub fn with_channels(self, channels: usize) -> Self {
        Self { channels: channels as i32, by_channels: Divide::by(channels.max(1)), ..self }
    }
}
