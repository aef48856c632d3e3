//! Images in row lanes that a convolution of stride 2 reads: two vectors become the even and the odd pixels of one.
//!
//! ```text
//!   input    0 1 2 … 15 │ 16 17 … 31              neighbors in a row, or the rows of two narrow images
//!   even     0 2 4 … 14   16 18 … 30              the lanes of 16 outputs, one phase of their taps
//!   odd      1 3 5 … 15   17 19 … 31              the other phase
//! ```

use super::images::LaneImages;
use super::places::Slots;
use super::shape::Shape;
use super::taps::{Side, Taps};
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Conv2d;

/// The layout of images that neighbors of the convolution write and that it can read, if there is one. `most` is the maximum
/// number of vectors in a tile.
pub(super) fn images(g: &Conv2d, taps: &Taps, shape: &Shape, most: usize) -> Option<LaneImages> {
    // The lane of an output holds its pixel in every phase, and no phase ends beyond the image.
    let halved = g.stride == [2; 2] && taps.center == 0 && !taps.reads(Side::After);
    if !halved || !g.w.is_multiple_of(2) || g.ow() != g.w / 2 {
        return None;
    }
    let pixels = Conv2d { kh: 1, kw: 1, stride: [1; 2], padding: [0; 2], extra_padding: [0; 2], ..*g };
    let pixel = Taps::new(&pixels)?;
    let images = Slots::new(&pixels, &pixel, shape.like(&pixels, &pixel, most)).images(g.h)?;
    // Narrow images fill whole vectors, so that those of two are one of their outputs.
    let fits = if shape.linked { images.linked } else { shape.lanes.is_multiple_of(g.w) };
    fits.then_some(images)
}

/// Converts rows of images in lanes to a band's input.
pub(super) struct LoadStrided<'a> {
    pub images: LaneImages,
    /// The group of outputs, and its first row.
    pub band: (usize, usize),
    pub channels: usize,
    pub taps: &'a Taps,
    pub shape: &'a Shape,
    pub x: &'a [f32],
    /// `[C][phases]` planes, which begin with `[rows + halo][vectors · LANES]`.
    pub lanes: &'a mut [f32],
}

impl LoadStrided<'_> {
    /// Where the two vectors of the first row of channel 0 are that become vector `vector` of the outputs, if they exist.
    fn places(&self, vector: usize) -> [Option<usize>; 2] {
        let (images, (group, _)) = (&self.images, self.band);
        let len = self.channels * images.plane();
        [0, 1].map(|half| {
            // Vectors of a group of images, one after the other.
            let (group, at) = if self.shape.linked {
                (group, 2 * vector + half)
            } else {
                let unit = 2 * (group * self.shape.vectors + vector) + half;
                (unit / images.vectors, unit % images.vectors)
            };
            (group < images.groups() && at < images.vectors).then_some(group * len + at * images.lanes)
        })
    }
}

impl Kernel for LoadStrided<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (images, (_, y)) = (self.images, self.band);
        let (plane, rows) = (self.shape.plane(self.taps), self.shape.input_rows(self.taps));
        let phases = &self.taps.phases;
        assert!(images.lanes == S::LANES && self.shape.lanes == S::LANES);
        assert!(self.lanes.len() >= self.channels * phases.len() * plane);
        for vector in 0..self.shape.vectors {
            let places = self.places(vector);
            for row in 0..rows {
                let first = 2 * (y as isize + self.taps.first_row + row as isize);
                for (index, phase) in phases.iter().enumerate() {
                    let from = first + phase[0] as isize;
                    let inside = (0..images.height as isize).contains(&from);
                    let to = index * plane + row * self.shape.row() + vector * S::LANES;
                    for channel in 0..self.channels {
                        let read = |place: Option<usize>| match place {
                            Some(place) if inside => {
                                let at = place + channel * images.plane() + from as usize * images.row();
                                s.get(&self.x[at..at + S::LANES])
                            }
                            _ => s.zero(),
                        };
                        let pixels = s.deinterleave(read(places[0]), read(places[1]));
                        let to = to + channel * phases.len() * plane;
                        s.put(&mut self.lanes[to..to + S::LANES], pixels[phase[1]]);
                    }
                }
            }
        }
    }
}
