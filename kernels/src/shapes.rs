//! The checked geometry of each operation: its input, its output, its cost.
//!
//! A geometry is a plain value with public fields. `check` rejects one that cannot be computed; all other functions
//! may assume that the geometry is valid.

use crate::params::Trans;
use std::ops::Range;

/// An invalid geometry, with a message the user can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

fn refuse<T>(message: String) -> Result<T, ShapeError> {
    Err(ShapeError(message))
}

/// A two-dimensional convolution.
///
/// `y[n,oh,ow,o] = b[o] + Σ_{kh,kw,c} x[n, oh·s−p+kh·d, ow·s−p+kw·d, g·C/G + c] · w[o,kh,kw,c]`
/// with `g = o / (O/G)`; positions outside the image read zero (cross-correlation, as in PyTorch's `Conv2d`).
/// Pairs are `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Images in the batch.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels, across all groups.
    pub c: usize,
    /// Output channels (filters), across all groups.
    pub o: usize,
    /// Kernel height.
    pub kh: usize,
    /// Kernel width.
    pub kw: usize,
    /// Step between neighboring windows.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub padding: [usize; 2],
    /// Distance between neighboring taps of the kernel.
    pub dilation: [usize; 2],
    /// Independent groups of channels; `groups == c` is a depthwise convolution.
    pub groups: usize,
}

impl Conv2d {
    /// A square kernel with the same stride and padding in both dimensions, no dilation, and one group.
    pub fn square(x: [usize; 4], o: usize, k: usize, stride: usize, padding: usize) -> Self {
        let [n, h, w, c] = x;
        Self {
            n,
            h,
            w,
            c,
            o,
            kh: k,
            kw: k,
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [1; 2],
            groups: 1,
        }
    }

    /// Rejects zero sizes, channels that the groups do not divide, and a kernel larger than the padded image.
    pub fn check(&self) -> Result<(), ShapeError> {
        let sizes = [self.n, self.h, self.w, self.c, self.o, self.kh, self.kw, self.groups];
        if sizes.contains(&0) || self.stride.contains(&0) || self.dilation.contains(&0) {
            return refuse(format!("a convolution has a size of zero: {self:?}"));
        }
        if !self.c.is_multiple_of(self.groups) || !self.o.is_multiple_of(self.groups) {
            return refuse(format!(
                "{} groups do not divide {} input and {} output channels",
                self.groups, self.c, self.o
            ));
        }
        for (size, k, p, d) in [
            (self.h, self.kh, self.padding[0], self.dilation[0]),
            (self.w, self.kw, self.padding[1], self.dilation[1]),
        ] {
            if size + 2 * p < d * (k - 1) + 1 {
                return refuse(format!(
                    "a kernel that spans {} does not fit an image of {size} padded by {p}",
                    d * (k - 1) + 1
                ));
            }
        }
        Ok(())
    }

    /// Output height.
    pub fn oh(&self) -> usize {
        (self.h + 2 * self.padding[0] - self.dilation[0] * (self.kh - 1) - 1) / self.stride[0] + 1
    }

    /// Output width.
    pub fn ow(&self) -> usize {
        (self.w + 2 * self.padding[1] - self.dilation[1] * (self.kw - 1) - 1) / self.stride[1] + 1
    }

    /// `[N, H, W, C]`.
    pub fn x_shape(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }

    /// `[O, KH, KW, C / groups]`.
    pub fn w_shape(&self) -> [usize; 4] {
        [self.o, self.kh, self.kw, self.c / self.groups]
    }

    /// `[N, OH, OW, O]`.
    pub fn y_shape(&self) -> [usize; 4] {
        [self.n, self.oh(), self.ow(), self.o]
    }

    /// The number of input elements.
    pub fn x_len(&self) -> usize {
        self.x_shape().iter().product()
    }

    /// The number of weight elements.
    pub fn w_len(&self) -> usize {
        self.w_shape().iter().product()
    }

    /// The number of output elements.
    pub fn y_len(&self) -> usize {
        self.y_shape().iter().product()
    }

    /// Whether every input channel has its own filters.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.c && self.groups > 1
    }

    /// Multiply-accumulates of one forward pass, including taps in the padding (the field's convention).
    pub fn macs(&self) -> u64 {
        self.y_len() as u64 * (self.kh * self.kw * self.c / self.groups) as u64
    }

    /// Bytes of input, weight and output, each counted once: the minimum memory traffic.
    pub fn bytes(&self) -> u64 {
        4 * (self.x_len() + self.w_len() + self.y_len()) as u64
    }
}

/// A pooling window over `[N, H, W, C]`. Average pooling divides by the window's area, or, without
/// `count_include_pad`, by the taps that fall inside the image. Max pooling treats padding as −∞.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Images in the batch.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Window `[height, width]`.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Border on each side, at most half the window.
    pub padding: [usize; 2],
    /// Round the output size up; a window that would start in the far padding is dropped, as in PyTorch.
    pub ceil_mode: bool,
    /// Average pooling only: divide by the whole window even where it overlaps the padding.
    pub count_include_pad: bool,
}

impl Pool2d {
    /// A square window without padding, otherwise with PyTorch's defaults.
    pub fn square(x: [usize; 4], kernel: usize, stride: usize) -> Self {
        let [n, h, w, c] = x;
        Self {
            n,
            h,
            w,
            c,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [0; 2],
            ceil_mode: false,
            count_include_pad: true,
        }
    }

    /// Rejects zero sizes, padding above half the window, and windows larger than the padded image.
    pub fn check(&self) -> Result<(), ShapeError> {
        if [self.n, self.h, self.w, self.c].contains(&0)
            || self.kernel.contains(&0)
            || self.stride.contains(&0)
        {
            return refuse(format!("a pooling has a size of zero: {self:?}"));
        }
        for (size, k, p) in
            [(self.h, self.kernel[0], self.padding[0]), (self.w, self.kernel[1], self.padding[1])]
        {
            if 2 * p > k {
                return refuse(format!("padding of {p} is more than half a window of {k}"));
            }
            if size + 2 * p < k {
                return refuse(format!("a window of {k} does not fit an image of {size} padded by {p}"));
            }
        }
        Ok(())
    }

    fn out(&self, size: usize, axis: usize) -> usize {
        let (k, s, p) = (self.kernel[axis], self.stride[axis], self.padding[axis]);
        let span = size + 2 * p - k;
        if !self.ceil_mode {
            return span / s + 1;
        }
        let out = span.div_ceil(s) + 1;
        if (out - 1) * s >= size + p { out - 1 } else { out }
    }

    /// Output height.
    pub fn oh(&self) -> usize {
        self.out(self.h, 0)
    }

    /// Output width.
    pub fn ow(&self) -> usize {
        self.out(self.w, 1)
    }

    /// The number of input elements.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// `[N, OH, OW, C]`.
    pub fn y_shape(&self) -> [usize; 4] {
        [self.n, self.oh(), self.ow(), self.c]
    }

    /// The number of output elements.
    pub fn y_len(&self) -> usize {
        self.y_shape().iter().product()
    }
}

/// Adaptive pooling to a fixed output size: output row `i` of `OH` covers input rows `⌊i·H/OH⌋ .. ⌈(i+1)·H/OH⌉`, even
/// if the output is larger than the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdaptivePool2d {
    /// Images in the batch.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Output height.
    pub oh: usize,
    /// Output width.
    pub ow: usize,
}

impl AdaptivePool2d {
    /// Rejects zero sizes.
    pub fn check(&self) -> Result<(), ShapeError> {
        if [self.n, self.h, self.w, self.c, self.oh, self.ow].contains(&0) {
            return refuse(format!("an adaptive pooling has a size of zero: {self:?}"));
        }
        Ok(())
    }

    /// The input rows, of `size`, that output row `i` of `out` covers.
    pub fn window(i: usize, size: usize, out: usize) -> Range<usize> {
        i * size / out..((i + 1) * size).div_ceil(out)
    }

    /// `[N, OH, OW, C]`.
    pub fn y_shape(&self) -> [usize; 4] {
        [self.n, self.oh, self.ow, self.c]
    }

    /// The number of input elements.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// The number of output elements.
    pub fn y_len(&self) -> usize {
        self.y_shape().iter().product()
    }
}

/// Batch normalization of channels: `x` is `[rows, C]`, with `rows = N·H·W` for images and `N` for vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Values per channel.
    pub rows: usize,
    /// Channels.
    pub c: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl BatchNorm {
    /// The length of `x`.
    pub fn len(&self) -> usize {
        self.rows * self.c
    }

    /// Whether `x` is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A matrix product `C = op(A)·op(B)`, where `op` transposes or does nothing. All matrices are row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Matmul {
    /// Rows of `C` and of `op(A)`.
    pub m: usize,
    /// Columns of `C` and of `op(B)`.
    pub n: usize,
    /// Terms per sum: columns of `op(A)`, rows of `op(B)`.
    pub k: usize,
    /// Whether `A` is stored `[k, m]` instead of `[m, k]`.
    pub ta: Trans,
    /// Whether `B` is stored `[n, k]` instead of `[k, n]`.
    pub tb: Trans,
}

impl Matmul {
    /// The product of sizes `[m, n, k]`.
    pub fn new([ta, tb]: [Trans; 2], [m, n, k]: [usize; 3]) -> Self {
        Self { m, n, k, ta, tb }
    }

    /// The lengths of A, B and C.
    pub fn lens(&self) -> [usize; 3] {
        [self.m * self.k, self.k * self.n, self.m * self.n]
    }
}

/// A fully connected layer: `y[n,o] = b[o] + Σ_i x[n,i] · w[o,i]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Linear {
    /// Rows of the batch.
    pub n: usize,
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
}

impl Linear {
    /// Rejects zero sizes.
    pub fn check(&self) -> Result<(), ShapeError> {
        if [self.n, self.inputs, self.outputs].contains(&0) {
            return refuse(format!("a linear layer has a size of zero: {self:?}"));
        }
        Ok(())
    }

    /// The product of a forward pass: `y = x · wᵀ`.
    pub fn forward(&self) -> Matmul {
        Matmul::new([Trans::No, Trans::Yes], [self.n, self.outputs, self.inputs])
    }

    /// The product that gives the gradient of the input: `dx = dy · w`.
    pub fn input_grad(&self) -> Matmul {
        Matmul::new([Trans::No, Trans::No], [self.n, self.inputs, self.outputs])
    }

    /// The product that gives the gradient of the weight: `dw = dyᵀ · x`.
    pub fn weight_grad(&self) -> Matmul {
        Matmul::new([Trans::Yes, Trans::No], [self.outputs, self.inputs, self.n])
    }

    /// Multiply-accumulates of one forward pass.
    pub fn macs(&self) -> u64 {
        (self.n * self.inputs * self.outputs) as u64
    }

    /// Bytes of input, weight and output, each counted once.
    pub fn bytes(&self) -> u64 {
        4 * (self.n * self.inputs + self.inputs * self.outputs + self.n * self.outputs) as u64
    }
}

/// A residual shortcut without parameters (He et al. 2016, option A): takes every `stride`-th pixel and adds `before`
/// zero channels in front and `after` behind: `[N, H, W, C] → [N, ⌈H/s⌉, ⌈W/s⌉, before + C + after]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PadShortcut {
    /// Images in the batch.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels.
    pub c: usize,
    /// Step between the pixels that are kept.
    pub stride: usize,
    /// Zero channels before the copied ones.
    pub before: usize,
    /// Zero channels after the copied ones.
    pub after: usize,
}

impl PadShortcut {
    /// Rejects zero sizes.
    pub fn check(&self) -> Result<(), ShapeError> {
        if [self.n, self.h, self.w, self.c, self.stride].contains(&0) {
            return refuse(format!("a shortcut has a size of zero: {self:?}"));
        }
        Ok(())
    }

    /// `[N, OH, OW, before + C + after]`.
    pub fn y_shape(&self) -> [usize; 4] {
        [
            self.n,
            self.h.div_ceil(self.stride),
            self.w.div_ceil(self.stride),
            self.before + self.c + self.after,
        ]
    }

    /// The number of input elements.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// The number of output elements.
    pub fn y_len(&self) -> usize {
        self.y_shape().iter().product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_pytorch() {
        let conv = Conv2d::square([2, 32, 32, 3], 16, 7, 2, 3);
        assert_eq!(conv.y_shape(), [2, 16, 16, 16]);
        assert_eq!(conv.macs(), 2 * 16 * 16 * 16 * 7 * 7 * 3);
        let pool = Pool2d { ceil_mode: true, ..Pool2d::square([2, 9, 10, 5], 3, 2) };
        assert_eq!(pool.y_shape(), [2, 4, 5, 5]);
        assert_eq!(AdaptivePool2d::window(1, 4, 7), 0..2);
    }

    #[test]
    fn impossible_geometry_is_rejected() {
        assert!(Conv2d::square([1, 2, 2, 1], 1, 5, 1, 1).check().is_err());
        assert!(Conv2d { groups: 2, ..Conv2d::square([1, 8, 8, 3], 4, 3, 1, 1) }.check().is_err());
        assert!(Pool2d { padding: [2, 2], ..Pool2d::square([1, 8, 8, 3], 3, 1) }.check().is_err());
    }
}
