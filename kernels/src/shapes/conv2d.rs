//! The convolution.

use super::error::{ShapeError, refuse};
use std::ops::Range;

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
    /// Further zeros added only behind the last row and column. Where TensorFlow's `SAME` padding is an odd number, its
    /// larger part lies there.
    pub extra_padding: [usize; 2],
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
            extra_padding: [0; 2],
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
        for (axis, padded, k) in [(0, self.padded()[0], self.kh), (1, self.padded()[1], self.kw)] {
            let span = self.dilation[axis] * (k - 1) + 1;
            if padded < span {
                let (size, zeros) = ([self.h, self.w][axis], padded - [self.h, self.w][axis]);
                return refuse(format!(
                    "a kernel that spans {span} does not fit an image of {size} with {zeros} zeros of padding"
                ));
            }
        }
        Ok(())
    }

    /// Height and width of the image with its padding.
    pub fn padded(&self) -> [usize; 2] {
        [0, 1].map(|axis| [self.h, self.w][axis] + 2 * self.padding[axis] + self.extra_padding[axis])
    }

    /// Output height.
    pub fn oh(&self) -> usize {
        (self.padded()[0] - self.dilation[0] * (self.kh - 1) - 1) / self.stride[0] + 1
    }

    /// Output width.
    pub fn ow(&self) -> usize {
        (self.padded()[1] - self.dilation[1] * (self.kw - 1) - 1) / self.stride[1] + 1
    }

    /// The rows of an image that the output rows `rows` read; rows of the padding do not count.
    pub fn rows_read(&self, rows: Range<usize>) -> Range<usize> {
        let inside = |row: usize| row.saturating_sub(self.padding[0]).min(self.h);
        if rows.is_empty() {
            return 0..0;
        }
        let first = inside(rows.start * self.stride[0]);
        let end = inside((rows.end - 1) * self.stride[0] + self.dilation[0] * (self.kh - 1) + 1);
        first..end.max(first)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_pytorch() {
        let conv = Conv2d::square([2, 32, 32, 3], 16, 7, 2, 3);
        assert_eq!(conv.y_shape(), [2, 16, 16, 16]);
        assert_eq!(conv.macs(), 2 * 16 * 16 * 16 * 7 * 7 * 3);
    }

    /// TensorFlow's `SAME` padding of stride 2 at even sizes.
    #[test]
    fn extra_padding_lies_behind() {
        let conv = Conv2d { extra_padding: [1; 2], ..Conv2d::square([1, 224, 112, 3], 32, 3, 2, 0) };
        assert_eq!(conv.y_shape(), [1, 112, 56, 32]);
        assert_eq!(conv.padded(), [225, 113]);
    }

    #[test]
    fn rows_read_rows_inside_the_image() {
        let conv = Conv2d::square([1, 9, 5, 3], 4, 3, 2, 1);
        assert_eq!(conv.oh(), 5);
        assert_eq!(
            [0..1, 1..3, 4..5, 0..5, 2..2].map(|rows| conv.rows_read(rows)),
            [0..2, 1..6, 7..9, 0..9, 0..0]
        );
        let padded = Conv2d { padding: [5, 0], ..Conv2d::square([1, 2, 5, 3], 4, 3, 1, 0) };
        assert_eq!([0..1, 3..4, 9..10].map(|rows| padded.rows_read(rows)), [0..0, 0..1, 2..2]);
    }

    #[test]
    fn impossible_geometry_is_rejected() {
        assert!(Conv2d::square([1, 2, 2, 1], 1, 5, 1, 1).check().is_err());
        assert!(Conv2d { groups: 2, ..Conv2d::square([1, 8, 8, 3], 4, 3, 1, 1) }.check().is_err());
    }
}
