//! The sizes of a convolution along rows, and which convolutions have them.

use crate::cpu::conv2d::padded;
use crate::cpu::simd::MAX_LANES;
use crate::shapes::Conv2d;

/// The number of outputs of a tile.
pub(super) const SIDE: usize = 4;
/// The most rows of outputs of a band. Its input has `KH − stride` rows more, which the next band transforms again.
const BAND: usize = 8;
/// A band of more floats of V than this leaves the L2 cache, unless it has one row.
const V: usize = 1 << 16;

/// The reason why this algorithm cannot compute `g`, or has no reason to, if there is one.
pub(in crate::cpu::conv2d) fn refuses(g: &Conv2d) -> Option<&'static str> {
    let needs = [
        (
            padded::applies(g),
            "an input pixel has as many channels as a vector, or a row of the kernel one tap",
        ),
        (g.stride[1] > 1, "the stride is 1"),
        ([3, 4].contains(&g.kw.div_ceil(g.stride[1])), "a row of the kernel has neither 3 nor 4 strides"),
        (g.dilation == [1; 2], "the kernel is dilated"),
    ];
    needs.into_iter().find(|(holds, _)| !holds).map(|(_, why)| why)
}

/// The sizes that depend on the kernel only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cpu::conv2d) struct LineShape {
    /// The number of cells that a row of the kernel reads: 3 or 4.
    pub taps: usize,
    /// The number of floats of a cell: the pixels that a step of the stride passes over.
    pub cell: usize,
    /// The number of rows of the kernel.
    pub rows: usize,
}

impl LineShape {
    /// The sizes of `g`, which [`refuses`] accepts.
    pub fn new(g: &Conv2d) -> Self {
        Self { taps: g.kw.div_ceil(g.stride[1]), cell: g.stride[1] * g.c, rows: g.kh }
    }

    /// The number of products for each tile, cell of a row and filter.
    pub fn points(&self) -> usize {
        self.taps + SIDE - 1
    }

    /// The length of a reduction.
    pub fn reduced(&self) -> usize {
        self.rows * self.cell
    }

    /// The number of tiles in the batch.
    pub fn tiles(&self, g: &Conv2d) -> usize {
        g.n * g.oh() * g.ow().div_ceil(SIDE)
    }
}

/// The bands of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bands {
    /// The rows of outputs of a band, the last of which may have fewer.
    pub rows: usize,
    /// The tiles of a row.
    pub across: usize,
    /// The floats of a row of input: the cells that its tiles read.
    pub row: usize,
    /// The distance in V between neighboring tiles: the cells of the input rows, and room for the rest of a vector.
    pub tile: usize,
}

impl Bands {
    /// The bands of an image of `g`.
    pub fn new(shape: &LineShape, g: &Conv2d) -> Self {
        let across = g.ow().div_ceil(SIDE);
        let tile = |rows: usize| ((rows - 1) * g.stride[0] + g.kh) * shape.cell + MAX_LANES;
        let fits = |&rows: &usize| rows == 1 || shape.points() * across * tile(rows) <= V;
        let rows = (1..=BAND.min(g.oh())).rev().find(fits).unwrap_or(1);
        Self { rows, across, row: (SIDE * (across - 1) + shape.points()) * shape.cell, tile: tile(rows) }
    }

    /// The length of a point of V.
    pub fn point(&self) -> usize {
        self.across * self.tile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_layers_are_divided_into_bands() {
        let stem = Conv2d::square([16, 128, 128, 3], 64, 7, 2, 3);
        assert_eq!(refuses(&stem), None);
        let shape = LineShape::new(&stem);
        assert_eq!((shape.taps, shape.cell, shape.points(), shape.reduced()), (4, 6, 7, 42));
        let bands = Bands::new(&shape, &stem);
        assert_eq!((bands.rows, bands.across, bands.row), (8, 16, 67 * 6));
        // AlexNet's.
        let eleven = Conv2d::square([1, 224, 224, 3], 64, 11, 4, 2);
        assert_eq!((refuses(&eleven), LineShape::new(&eleven).taps), (None, 3));
        let tall = Bands::new(&shape, &Conv2d { h: 2001, w: 3000, ..stem });
        assert_eq!(tall.rows, 1, "a row that is larger than the cache");
    }

    #[test]
    fn other_convolutions_are_refused() {
        for (g, why) in [
            (Conv2d::square([1, 8, 8, 16], 8, 7, 2, 3), "channels"),
            (Conv2d::square([1, 8, 8, 3], 8, 3, 1, 1), "stride"),
            (Conv2d::square([1, 8, 8, 3], 8, 3, 2, 1), "strides"),
            (Conv2d { dilation: [2, 1], ..Conv2d::square([1, 20, 20, 3], 8, 7, 2, 3) }, "dilated"),
        ] {
            assert!(refuses(&g).is_some_and(|reason| reason.contains(why)), "{g:?}");
        }
    }
}
