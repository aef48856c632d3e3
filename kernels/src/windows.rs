//! Where the windows of a pooling lie: one view of both geometries, [`Pool2d`] and [`AdaptivePool2d`].

use crate::shapes::{AdaptivePool2d, Pool2d};
use std::ops::Range;

/// A pooling from `[N, H, W, C]` to `[N, OH, OW, C]`. Output `(i, j)` reads the pixels `rows(i) × cols(j)`, of which
/// there is at least one.
pub(crate) trait Windows: Sync {
    /// `[N, H, W, C]`.
    fn x_shape(&self) -> [usize; 4];

    /// `[N, OH, OW, C]`.
    fn y_shape(&self) -> [usize; 4];

    /// Input rows that output row `i` covers, the padding left out.
    fn rows(&self, i: usize) -> Range<usize>;

    /// Input columns that output column `j` covers, the padding left out.
    fn cols(&self, j: usize) -> Range<usize>;

    /// What an average over window `(i, j)` divides by.
    fn divisor(&self, i: usize, j: usize) -> usize {
        self.rows(i).len() * self.cols(j).len()
    }

    /// Elements of the input.
    fn x_len(&self) -> usize {
        self.x_shape().iter().product()
    }

    /// Elements of the output.
    fn y_len(&self) -> usize {
        self.y_shape().iter().product()
    }
}

impl Windows for Pool2d {
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

    /// With `count_include_pad` the area of the window, less what `ceil_mode` lets hang out over the far padding;
    /// otherwise its pixels inside the image (as in PyTorch).
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

impl Windows for AdaptivePool2d {
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
