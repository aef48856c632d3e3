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
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
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

impl Kernel for LoadStrided<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (images, shape) = (self.images, self.shape);
        assert!(images.lanes == S::LANES && shape.lanes == S::LANES);
        let rows = shape.input_rows(self.taps) as isize;
        for parity in [0, 1] {
            let phase = |x: usize| self.taps.phases.iter().position(|&phase| phase == [parity, x]);
            let phases = [phase(0), phase(1)];
            if phases == [None; 2] {
                continue;
            }
            let start = 2 * (self.band.1 as isize + self.taps.first_row) + parity as isize;
            let above = ((1 - start) / 2).clamp(0, rows);
            let first = start + 2 * above;
            let count = ((images.height as isize - first + 1) / 2).clamp(0, rows - above);
            let present = Present { first: first as usize, above: above as usize, count: count as usize };
            for channel in 0..self.channels {
                for vector in 0..shape.vectors {
                    self.split(s, channel, vector, phases, &present);
                }
            }
        }
    }
}

/// The rows of a phase that are in the images.
struct Present {
    /// The first one, a row of the images. The others are every second row after it.
    first: usize,
    /// The number of rows of the phase above it.
    above: usize,
    count: usize,
}

impl LoadStrided<'_> {
    /// Where the vector `half` of the two in a row of channel `channel` begins that become vector `vector` of the outputs, if
    /// there is one.
    fn place(&self, channel: usize, vector: usize, half: usize) -> Option<usize> {
        let (images, (group, _)) = (&self.images, self.band);
        // Vectors of a group of images, one after the other.
        let (group, at) = if self.shape.linked {
            (group, 2 * vector + half)
        } else {
            let unit = 2 * (group * self.shape.vectors + vector) + half;
            (unit / images.vectors, unit % images.vectors)
        };
        let exists = group < images.groups() && at < images.vectors;
        exists.then_some((group * self.channels + channel) * images.plane() + at * images.lanes)
    }

    /// Writes vector `vector` of the rows of two phases, the even and the odd columns of the same rows, of which one may be
    /// missing.
    #[inline(always)]
    fn split<S: Simd>(
        &mut self,
        s: S,
        channel: usize,
        vector: usize,
        phases: [Option<usize>; 2],
        present: &Present,
    ) {
        let (plane, row) = (self.shape.plane(self.taps), self.shape.row());
        let (rows, channels) = (self.shape.input_rows(self.taps), channel * self.taps.phases.len());
        let &Present { first, above, count } = present;
        let zeros = [0.0; MAX_LANES];
        let [mut a, mut b] = [(&zeros[..], 0); 2];
        for (half, from) in [&mut a, &mut b].into_iter().enumerate() {
            if let Some(place) = self.place(channel, vector, half).filter(|_| count > 0) {
                let step = 2 * self.images.row();
                *from = (&self.x[place + first * self.images.row()..][..(count - 1) * step + S::LANES], step);
            }
        }
        for (phase, index) in phases.into_iter().zip(0..) {
            let Some(phase) = phase else { continue };
            let to = &mut self.lanes[(channels + phase) * plane..][..rows * row][vector * S::LANES..];
            for r in (0..above).chain(above + count..rows) {
                s.put(&mut to[r * row..][..S::LANES], s.zero());
            }
            let to = to.as_mut_ptr().wrapping_add(above * row);
            for r in 0..count {
                // SAFETY: each source has a vector at `r` steps for `r < count`, or at its start if its step is 0. A phase has
                // a vector in each of its `rows ≥ above + count` rows.
                unsafe {
                    let read = [s.load(a.0.as_ptr().add(r * a.1)), s.load(b.0.as_ptr().add(r * b.1))];
                    let [even, odd] = s.deinterleave(read[0], read[1]);
                    s.store(to.add(r * row), if index == 0 { even } else { odd });
                }
            }
        }
    }
}
