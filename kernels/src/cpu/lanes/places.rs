//! The pixel in each lane.
//!
//! Images are divided into *slots*: bands of rows and, if a row is wider than a unit, strips of columns. A unit has one
//! slot, or several if they are narrow enough and need no lanes at their ends:
//!
//! ```text
//!   whole rows             lanes 0 …  W−1 are the pixels of a row; lanes that shift in from outside are padding
//!   strips or no padding   lanes 1 …  are the pixels of a strip; lanes at the ends hold pixels of its neighbors
//! ```

use super::images::LaneImages;
use super::shape::{MAX_VECTORS, Shape};
use super::taps::{Side, Taps};
use crate::cpu::simd::MAX_LANES;
use crate::shapes::Conv2d;

/// The place of a lane in the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub image: usize,
    /// The first row of the band.
    pub y: usize,
    /// The column, which lies outside the image if the lane only holds input.
    pub x: isize,
    /// Whether the lane's result is a pixel of the output.
    pub stored: bool,
}

/// The maximum number of lanes of a row.
pub(super) const PLACES: usize = MAX_VECTORS * MAX_LANES;

/// The places of the lanes of a row; lanes without a slot have none.
pub(super) type Places = [Option<Place>; PLACES];

/// The division of the images of a geometry into slots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots {
    shape: Shape,
    /// Output columns.
    width: usize,
    images: usize,
    bands: usize,
    strips: usize,
    /// Slots per unit, and lanes per slot.
    per_unit: usize,
    slot: usize,
    /// Lanes at the start and the end of a slot that are not stored.
    ends: [usize; 2],
}

impl Slots {
    pub fn new(g: &Conv2d, taps: &Taps, shape: Shape) -> Self {
        let unit = shape.unit() * shape.lanes;
        let (images, bands, width) = (g.n, g.oh().div_ceil(shape.band), g.ow());
        let padded = |side| taps.ends_in_padding(g, side);
        if width <= unit && padded(Side::Before) && padded(Side::After) {
            // Sums that would shift into the next slot are masked, but only between lanes of one vector.
            let per_unit = if shape.unit() == 1 { unit / width } else { 1 };
            let slot = if per_unit == 1 { unit } else { width };
            return Self { shape, width, images, bands, strips: 1, per_unit, slot, ends: [0; 2] };
        }
        let ends = [Side::Before, Side::After].map(|side| usize::from(taps.reads(side)));
        let strips = width.div_ceil(unit - ends[0] - ends[1]);
        Self { shape, width, images, bands, strips, per_unit: 1, slot: unit, ends }
    }

    /// The number of rows of units, each the work of a task.
    pub fn groups(&self) -> usize {
        let units = (self.images * self.bands * self.strips).div_ceil(self.per_unit);
        units.div_ceil(self.shape.vectors / self.shape.unit())
    }

    /// The layout of the output as images in row lanes, if the lanes of a group are those of whole images.
    pub fn images(&self, height: usize) -> Option<LaneImages> {
        let Shape { lanes, vectors, linked, .. } = self.shape;
        let whole = self.ends == [0; 2] && self.strips == 1 && (linked || self.bands == 1);
        whole.then_some(LaneImages { images: self.images, height, width: self.width, lanes, vectors, linked })
    }

    /// The group of images in row lanes that group `group` is a band of, and the band's first row.
    pub fn band(&self, group: usize) -> (usize, usize) {
        if self.shape.linked {
            (group / self.bands, group % self.bands * self.shape.band)
        } else {
            (group, 0)
        }
    }

    /// The places of the lanes of group `group`.
    pub fn places(&self, group: usize) -> Places {
        let (unit, units) = (self.shape.unit() * self.shape.lanes, self.shape.vectors / self.shape.unit());
        let (first, useful) = (group * units * self.per_unit, self.slot - self.ends[0] - self.ends[1]);
        let mut places = [None; PLACES];
        for slot in 0..units * self.per_unit {
            let index = first + slot;
            let (strip, band) = (index / self.bands % self.strips, index % self.bands);
            let (image, y) = (index / self.bands / self.strips, band * self.shape.band);
            if image >= self.images {
                break;
            }
            let lane = slot / self.per_unit * unit + slot % self.per_unit * self.slot;
            for (column, place) in places[lane..lane + self.slot].iter_mut().enumerate() {
                let x = (strip * useful + column) as isize - self.ends[0] as isize;
                let inside = (0..self.width as isize).contains(&x);
                let stored = inside && (self.ends[0]..self.slot - self.ends[1]).contains(&column);
                *place = Some(Place { image, y, x, stored });
            }
        }
        places
    }

    /// The lanes of a vector, as bits, that sums may enter when they shift up or down.
    pub fn enterable(&self) -> [u32; 2] {
        let all = |keep: &dyn Fn(usize) -> bool| {
            (0..self.shape.lanes).fold(0, |bits, lane| bits | u32::from(keep(lane)) << lane)
        };
        if self.per_unit == 1 {
            return [all(&|_| true); 2];
        }
        [all(&|lane| lane % self.slot != 0), all(&|lane| lane % self.slot != self.slot - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every output pixel is stored by exactly one lane, for the geometry that a shape is chosen for and for others.
    #[test]
    fn every_pixel_has_one_lane() {
        let conv = |n, h, w, k, stride, padding| Conv2d::square([n, h, w, 3], 4, k, stride, padding);
        let geometries = [
            conv(3, 4, 4, 3, 1, 1),
            conv(1, 7, 5, 3, 1, 1),
            conv(2, 16, 16, 3, 1, 0),
            conv(1, 1, 700, 1, 1, 0),
            conv(2, 9, 33, 3, 2, 1),
            conv(5, 2, 150, 3, 1, 1),
            conv(5, 3, 3, 1, 2, 0),
        ];
        for packed in geometries {
            let taps = Taps::new(&packed).unwrap();
            let fits = |g: &&Conv2d| Conv2d { n: packed.n, h: packed.h, w: packed.w, ..**g } == packed;
            for (lanes, most) in [(16, 8), (8, 8), (8, 4)] {
                let shape = Shape::new(&packed, &taps, lanes, most, 32 << 10);
                for g in geometries.iter().filter(fits) {
                    let slots = Slots::new(g, &taps, shape);
                    let mut stored = vec![0; g.n * g.oh() * g.ow()];
                    for group in 0..slots.groups() {
                        for place in slots.places(group).into_iter().flatten().filter(|place| place.stored) {
                            for y in place.y..(place.y + shape.band).min(g.oh()) {
                                stored[(place.image * g.oh() + y) * g.ow() + place.x as usize] += 1;
                            }
                        }
                    }
                    assert!(stored.iter().all(|&count| count == 1), "{g:?} as {shape:?}");
                }
            }
        }
    }
}
