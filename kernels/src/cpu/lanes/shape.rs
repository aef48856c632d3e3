//! The shape of tiles and bands, chosen from the geometry that weights are packed for.
//!
//! ```text
//!   wide maps: a row of one image            narrow maps: rows of several images side by side
//!   ┌────────┬────────┐ ┐                    ┌────────┬────────┐ ┐
//!   │ x = 0 … 15      │ │ tile:              │ a│b│c│d│ e│f│g│h│ │ tile
//!   ├────────┼────────┤ │ rows × vectors     ├────────┼────────┤ ┘
//!   │                 │ ┘ ≤ 8 vectors        ┆        ┆        ┆
//!   ┆                 ┆   band: the rows of one task
//! ```
//!
//! The vectors of a *unit* are neighbors in a row, and lanes shift from one to the next. On wide maps, a row of a tile
//! is a unit; on narrow maps, each vector is. With few images, bands of an image lie side by side instead.
//!
//! The shape also serves images of other sizes ([`super::places`]), with lanes to spare.

use super::taps::{Side, Taps};
use crate::shapes::Conv2d;

/// The maximum number of vectors in a tile of one filter.
pub(super) const MAX_VECTORS: usize = 8;

/// The number of floats of a band's input that a task converts at a time, so that they stay in the L2 cache.
const BAND: usize = 48 << 10;
/// The number of tasks that a convolution is divided into, if it has as many rows, so that threads share them evenly.
const TASKS: usize = 16;

/// The shape of tiles and bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Floats per vector.
    pub lanes: usize,
    /// Vectors per row.
    pub vectors: usize,
    /// Whether the vectors of a row are one unit.
    pub linked: bool,
    /// Rows per tile.
    pub rows: usize,
    /// Rows per band.
    pub band: usize,
}

impl Shape {
    /// Chooses the shape for tiles of at most `most` vectors of `lanes` floats.
    pub fn new(g: &Conv2d, taps: &Taps, lanes: usize, most: usize) -> Self {
        let padded = |side| taps.ends_in_padding(g, side);
        if 2 * g.ow() <= lanes && padded(Side::Before) && padded(Side::After) {
            return Self::narrow(g, lanes, most);
        }
        let ends = usize::from(taps.reads(Side::Before)) + usize::from(taps.reads(Side::After));
        // A strip of a row that is too wide needs the lanes at its ends, even if the row ends in padding.
        let edges = if padded(Side::Before) && padded(Side::After) { 0 } else { ends };
        let whole = (g.ow() + edges).div_ceil(lanes);
        let vectors = if whole <= most {
            whole
        } else {
            let strips = g.ow().div_ceil(most * lanes - ends);
            (g.ow().div_ceil(strips) + ends).div_ceil(lanes)
        };
        let rows = rows(g.oh(), most / vectors);
        let shape = Self { lanes, vectors, linked: true, rows, band: rows };
        let columns = g.n * g.ow().div_ceil(vectors * lanes);
        let row = g.c * taps.phases.len() * vectors * lanes;
        let tiles = g.oh().div_ceil(rows);
        let fitting = (BAND / row / rows).clamp(1, tiles);
        let shared = (columns * tiles / TASKS).clamp(1, tiles);
        let bands = tiles.div_ceil(fitting.min(shared));
        Self { band: rows * tiles.div_ceil(bands), ..shape }
    }

    /// The shape for several images or bands side by side in a vector.
    fn narrow(g: &Conv2d, lanes: usize, most: usize) -> Self {
        let slots = lanes / g.ow();
        let bands = slots.div_ceil(g.n).min(g.oh());
        let band = g.oh().div_ceil(bands);
        let units = (g.n * g.oh().div_ceil(band)).div_ceil(slots);
        let rows = rows(band, most);
        let vectors = if rows == band { (most / rows).min(units) } else { 1 };
        Self { lanes, vectors, linked: false, rows, band }
    }

    /// Vectors per unit.
    pub fn unit(&self) -> usize {
        if self.linked { self.vectors } else { 1 }
    }

    /// Vectors per tile.
    pub fn tile(&self) -> usize {
        self.rows * self.vectors
    }

    /// Floats per row.
    pub fn row(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Tiles per band.
    pub fn tiles(&self) -> usize {
        self.band.div_ceil(self.rows)
    }

    /// Rows per phase of a channel's part of a band's input.
    pub fn input_rows(&self, taps: &Taps) -> usize {
        self.tiles() * self.rows + taps.halo
    }

    /// Floats per phase of a channel's part of a band's input.
    pub fn plane(&self, taps: &Taps) -> usize {
        self.input_rows(taps) * self.row()
    }
}

/// The number of rows of a tile, at most `most`, that computes `height` rows in the least time. A tile has a fixed cost
/// of about one row.
fn rows(height: usize, most: usize) -> usize {
    (1..=most).rev().min_by_key(|&rows| height.div_ceil(rows) * (rows + 1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(image: [usize; 4], most: usize) -> Shape {
        let g = Conv2d::square(image, 64, 3, 1, 1);
        Shape::new(&g, &Taps::new(&g).unwrap(), 16, most)
    }

    #[test]
    fn tiles_have_eight_vectors_where_the_map_has_them() {
        for (image, vectors, rows) in [
            ([16, 64, 64, 64], 4, 2),
            ([16, 32, 32, 64], 2, 4),
            ([16, 16, 16, 64], 1, 8),
            ([16, 8, 8, 64], 1, 8),
            ([16, 4, 4, 64], 2, 4),
            ([16, 2, 2, 64], 2, 2),
            ([1, 4, 4, 64], 1, 1),
            ([4, 7, 7, 64], 1, 7),
        ] {
            let shape = shape(image, 8);
            assert_eq!((shape.vectors, shape.rows), (vectors, rows), "{image:?}");
            assert!(shape.tile() <= MAX_VECTORS);
        }
    }

    #[test]
    fn wide_rows_are_divided_into_strips() {
        let shape = shape([1, 3, 300, 8], 4);
        assert!(shape.linked && shape.vectors == 4, "{shape:?}");
    }
}
