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
    /// Cache lines of the L1 cache.
    l1: usize,
    /// Floats between the rows of a channel and those of the next one.
    spread: usize,
}

impl Shape {
    /// Chooses the shape for tiles of at most `most` vectors of `lanes` floats, on a core with an L1 cache of `l1` bytes.
    pub fn new(g: &Conv2d, taps: &Taps, lanes: usize, most: usize, l1: usize) -> Self {
        let l1 = l1 / BYTES;
        let padded = |side| taps.ends_in_padding(g, side);
        if 2 * g.ow() <= lanes && padded(Side::Before) && padded(Side::After) {
            return Self::narrow(g, lanes, most, l1).spread_over_sets(taps);
        }
        let ends = usize::from(taps.reads(Side::Before)) + usize::from(taps.reads(Side::After));
        // A strip of a row that is too wide needs the lanes at its ends, even if the row ends in padding.
        let edges = if padded(Side::Before) && padded(Side::After) { 0 } else { ends };
        let whole = (g.ow() + edges).div_ceil(lanes);
        let vectors = if whole <= most { whole } else { strip(g, taps, [lanes, most], ends) };
        let rows = rows(g.oh(), most / vectors);
        let shape = Self { lanes, vectors, linked: true, rows, band: rows, l1, spread: 0 };
        let columns = g.n * g.ow().div_ceil(vectors * lanes);
        let row = g.c * taps.phases.len() * vectors * lanes;
        let tiles = g.oh().div_ceil(rows);
        let fitting = (BAND / row / rows).clamp(1, tiles);
        let shared = (columns * tiles / TASKS).clamp(1, tiles);
        let bands = tiles.div_ceil(fitting.min(shared));
        Self { band: rows * tiles.div_ceil(bands), ..shape }.spread_over_sets(taps)
    }

    /// The shape for several images or bands side by side in a vector.
    fn narrow(g: &Conv2d, lanes: usize, most: usize, l1: usize) -> Self {
        let slots = lanes / g.ow();
        let bands = slots.div_ceil(g.n).min(g.oh());
        let band = g.oh().div_ceil(bands);
        let units = (g.n * g.oh().div_ceil(band)).div_ceil(slots);
        let rows = rows(band, most);
        let vectors = if rows == band { (most / rows).min(units) } else { 1 };
        Self { lanes, vectors, linked: false, rows, band, l1, spread: 0 }
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

    /// Cache lines of a tile's input, in a phase of a channel.
    pub fn tile_lines(&self, taps: &Taps) -> usize {
        ((self.rows + taps.halo) * self.row()).div_ceil(LINE)
    }

    /// The number of channels, each in all phases, whose part of a tile's input stays in the L1 cache: three quarters of it, as
    /// lists and sums pass through it, too.
    pub fn channels(&self, taps: &Taps) -> usize {
        (self.l1 * 3 / 4 / (taps.phases.len() * self.tile_lines(taps))).max(1)
    }

    /// The cache lines of the L1 cache that the input of a tile of `channels` channels leaves for sums, beside an eighth for lists.
    pub fn lines_left(&self, taps: &Taps, channels: usize) -> usize {
        (self.l1 * 7 / 8).saturating_sub(channels * taps.phases.len() * self.tile_lines(taps))
    }

    /// The distance in floats between the phases of a channel's part of a band's input, and between channels.
    pub fn plane(&self, taps: &Taps) -> usize {
        self.input_rows(taps) * self.row() + self.spread
    }

    /// The same shape, whose channels are `plane` floats apart, if they fit.
    pub fn with_plane(self, taps: &Taps, plane: usize) -> Self {
        let rows = self.input_rows(taps) * self.row();
        if rows > plane { self } else { Self { spread: plane - rows, ..self } }
    }

    /// The same shape with room between channels that spreads the tiles of a block over the sets of the L1 cache.
    fn spread_over_sets(self, taps: &Taps) -> Self {
        let (rows, tile) = (self.input_rows(taps) * self.row(), self.tile_lines(taps));
        if rows <= tile * LINE {
            // One tile's rows follow those of the next channel.
            return self;
        }
        let (lines, planes) = (rows.div_ceil(LINE), self.channels(taps) * taps.phases.len());
        // The first of the best.
        let extra = (0..=tile).min_by_key(|extra| most_in_a_set(lines + extra, tile, planes)).unwrap_or(0);
        Self { spread: (lines + extra) * LINE - rows, ..self }
    }
}

/// The number of bytes in a cache line.
const BYTES: usize = 64;
/// The number of floats in a cache line.
pub(super) const LINE: usize = BYTES / size_of::<f32>();
/// The number of sets of an L1 cache.
const SETS: usize = 64;

/// The most lines of `planes` tiles of `tile` lines, `step` lines apart, that fall into one set of the L1 cache.
fn most_in_a_set(step: usize, tile: usize, planes: usize) -> usize {
    let mut starts = [0; SETS];
    (0..planes).for_each(|plane| starts[plane * step % SETS] += 1);
    let lines = |set: usize| (0..tile).map(|line| starts[(set + tile * SETS - line) % SETS]).sum::<usize>();
    (0..SETS).map(lines).max().unwrap_or(0)
}

/// The number of vectors of a strip of a row, at most `most`. Narrow strips have taller tiles, which read fewer rows above and
/// below, so that a block has more channels; but more lanes at their ends.
fn strip(g: &Conv2d, taps: &Taps, [lanes, most]: [usize; 2], ends: usize) -> usize {
    /// The time in which a tile's lists end and its sums are moved, in steps of a list per line of its input.
    const LISTS: f64 = 0.025;
    /// The time of a step beside that of its products.
    const STEP: f64 = 1.3;
    let time = |&vectors: &usize| {
        let (rows, strips) = (rows(g.oh(), most / vectors), g.ow().div_ceil(vectors * lanes - ends));
        let computed = strips * vectors * lanes * g.oh().div_ceil(rows) * rows;
        let lines = ((rows + taps.halo) * vectors * lanes).div_ceil(LINE) * taps.phases.len();
        computed as f64 * (1.0 + LISTS * lines as f64 + STEP / (rows * vectors) as f64)
    };
    let fitting = (1..=most).filter(|vectors| vectors * lanes > ends);
    fitting.min_by(|a, b| time(a).total_cmp(&time(b))).unwrap_or(most)
}

/// The number of rows of a tile, at most `most`, that computes `height` rows in the least time. A tile has a fixed cost
/// of about one row.
fn rows(height: usize, most: usize) -> usize {
    (1..=most).rev().min_by_key(|&rows| height.div_ceil(rows) * (rows + 1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::places::Slots;
    use super::*;

    const L1: usize = 32 << 10;

    fn shape(image: [usize; 4], most: usize) -> Shape {
        let g = Conv2d::square(image, 64, 3, 1, 1);
        Shape::new(&g, &Taps::new(&g).unwrap(), 16, most, L1)
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
        let low = shape([1, 3, 300, 8], 4);
        assert!(low.linked && low.vectors == 4, "{low:?}");
        let tall = shape([16, 224, 224, 64], 8);
        assert!(tall.linked && tall.tile() == 8 && tall.rows > 2, "{tall:?}");
        let pixels = Conv2d::square([1, 1, 4096, 64], 64, 1, 1, 0);
        assert_eq!(Shape::new(&pixels, &Taps::new(&pixels).unwrap(), 16, 8, L1).vectors, 8);
    }

    /// Tiles of the channels of a block share the sets of an L1 cache evenly, whatever the height of the band.
    #[test]
    fn planes_are_spread_over_the_sets_of_the_cache() {
        for size in [7, 8, 14, 15, 16, 28, 32, 56, 64, 112, 128, 200, 224] {
            for (channels, stride) in [(64, 1), (128, 1), (256, 1), (64, 2)] {
                let g = Conv2d::square([16, size, size, channels], channels, 3, stride, 1);
                let taps = Taps::new(&g).unwrap();
                for ways in [8, 12] {
                    let shape = Shape::new(&g, &taps, 16, 8, ways * SETS * BYTES);
                    let (step, tile) = (shape.plane(&taps), shape.tile_lines(&taps));
                    assert!(step % LINE == 0 && step >= shape.input_rows(&taps) * shape.row());
                    let crowd = most_in_a_set(step / LINE, tile, shape.channels(&taps) * taps.phases.len());
                    assert!(crowd <= ways, "{crowd} lines of {g:?} in a set of {ways}: {shape:?}");
                }
            }
        }
    }

    /// So do tiles of images that stay in lanes, where kernels of one pixel read them.
    #[test]
    fn channels_in_lanes_are_spread_over_the_sets_of_the_cache() {
        for size in [4, 7, 8, 14, 15, 16, 20, 24, 28, 30, 32, 48, 56, 64, 80, 96, 112] {
            let g = Conv2d::square([16, size, size, 64], 64, 1, 1, 0);
            let taps = Taps::new(&g).unwrap();
            for ways in [8, 12] {
                let shape = Shape::new(&g, &taps, 16, 8, ways * SETS * BYTES);
                let images = Slots::new(&g, &taps, shape).images(size).expect("rows are whole");
                let (step, tile) = (images.plane() / LINE, shape.tile_lines(&taps));
                let crowd = most_in_a_set(step, tile, shape.channels(&taps));
                assert!(crowd <= ways, "{crowd} lines of {size}² in a set of {ways}: {shape:?}");
            }
        }
    }
}
