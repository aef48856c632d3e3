//! The windows of a pooling: one interface to both geometries, [`Pool2d`] and [`AdaptivePool2d`].

use crate::shapes::{AdaptivePool2d, Pool2d};
use std::ops::Range;

/// A pooling from `[N, H, W, C]` to `[N, OH, OW, C]`. Output `(i, j)` reads the pixels `rows(i) × cols(j)`, at least
/// one.
pub(crate) trait PoolWindows: Sync {
    /// `[N, H, W, C]`.
    fn x_shape(&self) -> [usize; 4];

    /// `[N, OH, OW, C]`.
    fn y_shape(&self) -> [usize; 4];

    /// The input rows that output row `i` covers, without padding.
    fn rows(&self, i: usize) -> Range<usize>;

    /// The input columns that output column `j` covers, without padding.
    fn cols(&self, j: usize) -> Range<usize>;

    /// The divisor of an average over window `(i, j)`.
    fn divisor(&self, i: usize, j: usize) -> usize {
        self.rows(i).len() * self.cols(j).len()
    }

    /// The number of input elements.
    fn x_len(&self) -> usize {
        self.x_shape().iter().product()
    }

    /// The number of output elements.
    fn y_len(&self) -> usize {
        self.y_shape().iter().product()
    }
}

impl PoolWindows for Pool2d {
    fn x_shape(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }

    fn y_shape(&self) -> [usize; 4] {
        Pool2d::y_shape(self)
    }

    fn rows(&self, i: usize) -> Range<usize> {
        inside(self, 0, i, self.h)
    }

    fn cols(&self, j: usize) -> Range<usize> {
        inside(self, 1, j, self.w)
    }

    /// With `count_include_pad`, the area of the window minus the part that `ceil_mode` lets extend beyond the far
    /// padding; otherwise, the number of its pixels inside the image (as in PyTorch).
    fn divisor(&self, i: usize, j: usize) -> usize {
        if !self.count_include_pad {
            return self.rows(i).len() * self.cols(j).len();
        }
        let span = |axis: usize, i: usize, size: usize| {
            self.kernel[axis].min(size + 2 * self.padding[axis] - i * self.stride[axis])
        };
        span(0, i, self.h) * span(1, j, self.w)
    }
}

/// The part of window `i` along `axis` that lies inside an image of `size`.
fn inside(g: &Pool2d, axis: usize, i: usize, size: usize) -> Range<usize> {
    let (k, p, start) = (g.kernel[axis], g.padding[axis], i * g.stride[axis]);
    start.saturating_sub(p)..(start + k - p).min(size)
}

impl PoolWindows for AdaptivePool2d {
    fn x_shape(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }

    fn y_shape(&self) -> [usize; 4] {
        AdaptivePool2d::y_shape(self)
    }

    fn rows(&self, i: usize) -> Range<usize> {
        AdaptivePool2d::window(i, self.h, self.oh)
    }

    fn cols(&self, j: usize) -> Range<usize> {
        AdaptivePool2d::window(j, self.w, self.ow)
    }
}
