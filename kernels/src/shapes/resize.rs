//! Resizing.

use super::error::{ShapeError, refuse};
use serde::{Deserialize, Serialize};

/// A resizing of `x` `[N, H, W, C]` to `[N, OH, OW, C]`, separately along rows and columns: each output row is a weighted
/// sum of input rows, and so is each column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resize {
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
    /// The weights.
    pub mode: ResizeMode,
}

/// Which input rows an output row consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ResizeMode {
    /// The nearest one.
    Nearest(Coordinates, Rounding),
    /// The two nearest ones, weighted by their distance; at the border the outermost one.
    Linear(Coordinates),
    /// Every `stride`-th output row is an input row, the others are zero: the input of a transposed convolution. The output
    /// has `(size − 1)·stride + 1` rows.
    Stuff([usize; 2]),
}

/// The position in the input of output row `i`, where `scale` is the output size divided by the input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Coordinates {
    /// `(i + ½)/scale − ½`: pixels are areas.
    HalfPixel,
    /// `i/scale`.
    Asymmetric,
    /// `i·(size − 1)/(output size − 1)`: the outermost pixels are at the same place; 0 for one output row.
    AlignCorners,
}

/// How a position is rounded to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rounding {
    /// Down.
    Floor,
    /// Up.
    Ceil,
    /// To the nearest, halves down.
    HalfDown,
    /// To the nearest, halves up.
    HalfUp,
}

impl Resize {
    /// Rejects zero sizes, and output sizes that zero-stuffing does not have.
    pub fn check(&self) -> Result<(), ShapeError> {
        if [self.n, self.h, self.w, self.c, self.oh, self.ow].contains(&0) {
            return refuse(format!("a resizing has a size of zero: {self:?}"));
        }
        match self.mode {
            ResizeMode::Stuff(stride) if stride.contains(&0) => {
                refuse("a resizing has a stride of zero".into())
            }
            ResizeMode::Stuff([s, t])
                if [(self.h - 1) * s + 1, (self.w - 1) * t + 1] != [self.oh, self.ow] =>
            {
                refuse(format!("zeros between pixels do not give this size: {self:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The number of input elements.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// `[N, OH, OW, C]`.
    pub fn y_shape(&self) -> [usize; 4] {
        [self.n, self.oh, self.ow, self.c]
    }

    /// The number of output elements.
    pub fn y_len(&self) -> usize {
        self.y_shape().iter().product()
    }

    /// The rows and weights that output row (`axis` 0) or column (1) `i` consists of. A row of weight 0 does not count.
    pub fn taps(&self, axis: usize, i: usize) -> [(usize, f32); 2] {
        let (size, out) = if axis == 0 { (self.h, self.oh) } else { (self.w, self.ow) };
        match self.mode {
            ResizeMode::Nearest(coordinates, rounding) => {
                [(rounding.of(coordinates.position(i, size, out), size), 1.0), (0, 0.0)]
            }
            ResizeMode::Linear(coordinates) => {
                let position = coordinates.position(i, size, out).clamp(0.0, (size - 1) as f64);
                let first = position.floor() as usize;
                let share = (position - first as f64) as f32;
                match share > 0.0 {
                    true => [(first, 1.0 - share), (first + 1, share)],
                    false => [(first, 1.0), (0, 0.0)],
                }
            }
            ResizeMode::Stuff(stride) => {
                let kept = i.is_multiple_of(stride[axis]);
                [(i / stride[axis], f32::from(u8::from(kept))), (0, 0.0)]
            }
        }
    }
}

impl Coordinates {
    fn position(self, i: usize, size: usize, out: usize) -> f64 {
        let (i, size, out) = (i as f64, size as f64, out as f64);
        match self {
            Self::HalfPixel => (i + 0.5) * size / out - 0.5,
            Self::Asymmetric => i * size / out,
            Self::AlignCorners if out == 1.0 => 0.0,
            Self::AlignCorners => i * (size - 1.0) / (out - 1.0),
        }
    }
}

impl Rounding {
    fn of(self, position: f64, size: usize) -> usize {
        let row = match self {
            Self::Floor => position.floor(),
            Self::Ceil => position.ceil(),
            Self::HalfDown => (position - 0.5).ceil(),
            Self::HalfUp => (position + 0.5).floor(),
        };
        row.clamp(0.0, (size - 1) as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(h: usize, oh: usize, mode: ResizeMode) -> Resize {
        Resize { n: 1, h, w: 1, c: 1, oh, ow: 1, mode }
    }

    #[test]
    fn rows_lie_where_pytorch_puts_them() {
        let rows = |h: usize, oh: usize, mode: ResizeMode| -> Vec<usize> {
            (0..oh).map(|i| of(h, oh, mode).taps(0, i)[0].0).collect()
        };
        let nearest = ResizeMode::Nearest(Coordinates::Asymmetric, Rounding::Floor);
        assert_eq!(rows(3, 6, nearest), [0, 0, 1, 1, 2, 2]);
        assert_eq!(rows(5, 3, nearest), [0, 1, 3]);
        let exact = ResizeMode::Nearest(Coordinates::HalfPixel, Rounding::HalfUp);
        assert_eq!(rows(5, 3, exact), [0, 2, 4]);
        // Half pixels: output 1 of 4 lies at 0.25, output 0 at −0.25, which is the border.
        let linear = of(2, 4, ResizeMode::Linear(Coordinates::HalfPixel));
        assert_eq!((linear.taps(0, 0), linear.taps(0, 1)), ([(0, 1.0), (0, 0.0)], [(0, 0.75), (1, 0.25)]));
        let corners = of(3, 5, ResizeMode::Linear(Coordinates::AlignCorners));
        assert_eq!((corners.taps(0, 1), corners.taps(0, 4)[0]), ([(0, 0.5), (1, 0.5)], (2, 1.0)));
    }

    #[test]
    fn zeros_between_pixels_have_one_size() {
        let g = Resize { w: 2, ow: 3, ..of(3, 7, ResizeMode::Stuff([3, 2])) };
        assert!(g.check().is_ok() && Resize { oh: 8, ..g }.check().is_err());
        assert_eq!((g.taps(0, 3)[0], g.taps(0, 4)[0].1), ((1, 1.0), 0.0));
        assert!(Resize { mode: ResizeMode::Stuff([0, 1]), ..g }.check().is_err());
    }
}
