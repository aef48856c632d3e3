//! Conversion between channels-last images and row lanes, by transposing squares of pixels × channels in registers.
//!
//! ```text
//!   [pixel][channel]                            [channel][phase][row][lane]
//!   p₀  c₀ c₁ … c₁₅       transpose             c₀   p₀ p₁ … p₁₅
//!   p₁  c₀ c₁ … c₁₅      ──────────►            c₁   p₀ p₁ … p₁₅
//!   ⋮                                           ⋮
//! ```
//!
//! A lane outside the image reads zeros, and is not stored.

use super::places::Places;
use super::shape::Shape;
use super::taps::Taps;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::shared::Shared;
use crate::cpu::simd::activate::activate;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::shapes::Conv2d;
use std::ops::Range;

/// Converts a band's input to lanes.
pub(super) struct Load<'a> {
    pub g: &'a Conv2d,
    pub taps: &'a Taps,
    pub shape: &'a Shape,
    pub places: &'a Places,
    /// `[N, H, W, C]`.
    pub x: &'a [f32],
    /// At least `C` zeros.
    pub zeros: &'a [f32],
    /// `[C][phases][rows + halo][vectors · LANES]`.
    pub lanes: &'a mut [f32],
}

/// The pixels of a lane in a phase: the index of the first row's pixel and its row, which may lie outside the image.
#[derive(Clone, Copy)]
struct Column {
    pixel: isize,
    y: isize,
}

impl Load<'_> {
    /// The column of input pixels in each lane for phase `phase`, unless it lies outside the image.
    fn columns(&self, phase: [usize; 2]) -> [Option<Column>; MAX_PLACES] {
        let Self { g, taps, .. } = self;
        let [step_y, step_x] = g.stride.map(|stride| stride as isize);
        let [phase_y, phase_x] = phase.map(|offset| offset as isize);
        self.places.map(|place| {
            let place = place?;
            let x = (place.x + taps.center) * step_x + phase_x;
            let y = (place.y as isize + taps.first_row) * step_y + phase_y;
            let pixel = ((place.image * g.h) as isize + y) * g.w as isize + x;
            (0..g.w as isize).contains(&x).then_some(Column { pixel, y })
        })
    }
}

/// The number of places.
const MAX_PLACES: usize = super::shape::MAX_VECTORS * MAX_LANES;

impl Kernel for Load<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (c, plane) = (self.g.c, self.shape.plane(self.taps));
        let phases = self.taps.phases.len();
        assert!(self.zeros.len() >= c && self.x.len() >= self.g.x_len());
        assert!(self.lanes.len() >= c * phases * plane && self.shape.lanes == S::LANES);
        let row_pixels = (self.g.stride[0] * self.g.w) as isize;
        for (index, &phase) in self.taps.phases.iter().enumerate() {
            let columns = self.columns(phase);
            for row in 0..plane / self.shape.row() {
                let y = row as isize * self.g.stride[0] as isize;
                for vector in 0..self.shape.vectors {
                    let pointers: [*const f32; MAX_LANES] = std::array::from_fn(|lane| {
                        let column = columns[(vector * S::LANES + lane).min(MAX_PLACES - 1)];
                        let inside = column.filter(|column| (0..self.g.h as isize).contains(&(column.y + y)));
                        inside.map_or(self.zeros.as_ptr(), |column| {
                            let pixel = column.pixel + row as isize * row_pixels;
                            self.x.as_ptr().wrapping_offset(pixel * c as isize)
                        })
                    });
                    let first = index * plane + row * self.shape.row() + vector * S::LANES;
                    let lanes = self.lanes[first..].as_mut_ptr();
                    // SAFETY: each pointer leads to a pixel of `x`, whose row and column are inside the image, or to the
                    // zeros: `c` floats. The vector of channel `i` starts `i · phases` planes after that of the first,
                    // and ends inside `lanes`, as asserted.
                    unsafe { transpose_pixels(s, &pointers, c, lanes, phases * plane) };
                }
            }
        }
    }
}

/// Writes channel `i` of `LANES` pixels as a vector at `lanes + i · step`.
///
/// # Safety
/// The first `LANES` pointers lead to `channels` floats each, and each vector is writable.
#[inline(always)]
unsafe fn transpose_pixels<S: Simd>(
    s: S,
    pixels: &[*const f32; MAX_LANES],
    channels: usize,
    lanes: *mut f32,
    step: usize,
) {
    for first in (0..channels).step_by(S::LANES) {
        let count = S::LANES.min(channels - first);
        let mut rows = [s.zero(); MAX_LANES];
        for i in 0..S::LANES {
            // SAFETY: `count` floats follow channel `first` of each pixel.
            rows[i] = unsafe {
                let pixel = pixels[i].add(first);
                if count == S::LANES { s.load(pixel) } else { s.load_partial(pixel, count) }
            };
        }
        let columns = s.transpose(rows);
        for i in 0..S::LANES {
            if i < count {
                // SAFETY: guaranteed by the caller.
                unsafe { s.store(lanes.add((first + i) * step), columns[i]) };
            }
        }
    }
}

/// Finishes a tile: converts its sums to channels-last pixels, with bias, residual and activation.
pub(super) struct Finish<'a> {
    pub g: &'a Conv2d,
    pub shape: &'a Shape,
    pub places: &'a Places,
    /// The tile's first row in the band.
    pub row: usize,
    /// The filters, and the place of their sums, `[place][rows][vectors · LANES]`.
    pub filters: Range<usize>,
    pub sums: &'a [f32],
    pub epilogue: &'a Epilogue<'a>,
    /// `[N, OH, OW, O]`.
    pub y: Shared<'a>,
}

impl Finish<'_> {
    /// The offsets in the output of the pixels of vector `vector` in row `row` of the tile.
    #[inline(always)]
    fn pixels(&self, row: usize, vector: usize) -> [Option<usize>; MAX_LANES] {
        let (height, width) = (self.g.oh(), self.g.ow());
        std::array::from_fn(|lane| {
            let place = self.places[(vector * self.shape.lanes + lane).min(MAX_PLACES - 1)];
            let place = place.filter(|place| place.stored && lane < self.shape.lanes)?;
            let y = place.y + self.row + row;
            let inside = self.row + row < self.shape.band && y < height;
            inside.then_some(((place.image * height + y) * width + place.x as usize) * self.g.o)
        })
    }
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let tile = self.shape.tile() * S::LANES;
        assert!(self.sums.len() >= self.filters.len() * tile && self.shape.lanes == S::LANES);
        for row in 0..self.shape.rows {
            for vector in 0..self.shape.vectors {
                let pixels = self.pixels(row, vector);
                let sums = &self.sums[(row * self.shape.vectors + vector) * S::LANES..];
                for first in (0..self.filters.len()).step_by(S::LANES) {
                    let count = S::LANES.min(self.filters.len() - first);
                    let mut rows = [s.zero(); MAX_LANES];
                    for (i, row) in rows.iter_mut().enumerate().take(count) {
                        *row = s.get(&sums[(first + i) * tile..]);
                    }
                    let columns = s.transpose(rows);
                    let channels = self.filters.start + first..self.filters.start + first + count;
                    for i in 0..S::LANES {
                        if let Some(pixel) = pixels[i] {
                            self.store(s, pixel, channels.clone(), columns[i]);
                        }
                    }
                }
            }
        }
    }
}

impl Finish<'_> {
    /// Stores the sums of some channels of a pixel.
    #[inline(always)]
    fn store<S: Simd>(&self, s: S, pixel: usize, channels: Range<usize>, sums: S::F) {
        let Epilogue { bias, residual, activation } = *self.epilogue;
        let (mut v, at) = (sums, pixel + channels.start);
        if let Some(bias) = bias {
            v = s.add(v, s.get(&bias[channels.clone()]));
        }
        if let Some(residual) = residual {
            v = s.add(v, s.get(&residual[at..at + channels.len()]));
        }
        // SAFETY: each pixel has one lane, and each task its own bands and filters.
        let y = unsafe { self.y.range(at, channels.len()) };
        s.put(y, activate(s, activation, v));
    }
}
