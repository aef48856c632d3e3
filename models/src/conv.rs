//! Convolutions before their input is known.

/// Convolution whose input is not yet known. Defaults: no padding, stride 1, one group, no bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Number of filters.
    pub out: usize,
    /// Kernel size, `[KH, KW]`.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Zeros on each side.
    pub padding: [usize; 2],
    /// Further zeros behind the last row and column.
    pub extra_padding: [usize; 2],
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
    /// Whether the convolution has a bias.
    pub bias: bool,
}

impl Conv {
    /// Creates `out` filters of `kernel × kernel`.
    pub fn new(out: usize, kernel: usize) -> Self {
        Self {
            out,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: [0; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
            bias: false,
        }
    }

    /// Creates `out` filters of an odd `kernel × kernel`, padded so that stride 1 keeps the size.
    pub fn same(out: usize, kernel: usize) -> Self {
        Self { padding: [kernel / 2; 2], ..Self::new(out, kernel) }
    }

    /// Pads as TensorFlow's `SAME` does for an image of `[H, W]` pixels: the output has ⌈size / stride⌉, and an odd number
    /// of zeros has its larger part behind the image. It depends on the size: call it after [`Conv::stride`].
    pub fn tf_same(self, image: [usize; 2]) -> Self {
        let total = |axis: usize| {
            let span = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            let last = image[axis].div_ceil(self.stride[axis]).saturating_sub(1) * self.stride[axis];
            (last + span).saturating_sub(image[axis])
        };
        let total = [total(0), total(1)];
        Self { padding: total.map(|zeros| zeros / 2), extra_padding: total.map(|zeros| zeros % 2), ..self }
    }

    /// Sets the step between windows.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride: [stride; 2], ..self }
    }

    /// Sets the number of independent groups of channels.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Adds a bias.
    pub fn bias(self) -> Self {
        Self { bias: true, ..self }
    }
}
