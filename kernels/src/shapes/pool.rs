//! Pooling.

use super::error::{ShapeError, refuse};
use std::ops::Range;

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

    /// Whether the windows are pairs of rows and columns side by side, none of which reaches beyond the image.
    pub fn halves(&self) -> bool {
        let pairs = [self.kernel, self.stride] == [[2; 2]; 2] && self.padding == [0; 2];
        pairs && [self.oh(), self.ow()] == [self.h / 2, self.w / 2]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_pytorch() {
        let pool = Pool2d { ceil_mode: true, ..Pool2d::square([2, 9, 10, 5], 3, 2) };
        assert_eq!(pool.y_shape(), [2, 4, 5, 5]);
        assert_eq!(AdaptivePool2d::window(1, 4, 7), 0..2);
    }

    #[test]
    fn impossible_geometry_is_rejected() {
        assert!(Pool2d { padding: [2, 2], ..Pool2d::square([1, 8, 8, 3], 3, 1) }.check().is_err());
    }
}
