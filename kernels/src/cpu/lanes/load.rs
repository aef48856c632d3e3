//! Conversion of channels-last images to row lanes, by transposing squares of pixels × channels in registers.
//!
//! ```text
//!   [pixel][channel]                            [channel][phase][row][lane]
//!   p₀  c₀ c₁ … c₁₅       transpose             c₀   p₀ p₁ … p₁₅
//!   p₁  c₀ c₁ … c₁₅      ──────────►            c₁   p₀ p₁ … p₁₅
//!   ⋮                                           ⋮
//! ```
//!
//! A lane outside the image reads zeros.

use super::places::{PLACES, Places};
use super::shape::Shape;
use super::taps::Taps;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::shapes::Conv2d;

/// Rows of images, `[N, height, W, C]`.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub x: &'a [f32],
    pub height: usize,
    /// The row that is the first of the convolution's images; it may lie above these rows or below.
    pub origin: isize,
}

/// Converts a band's input to lanes.
pub(super) struct Load<'a> {
    pub g: &'a Conv2d,
    pub taps: &'a Taps,
    pub shape: &'a Shape,
    pub places: &'a Places,
    pub source: Source<'a>,
    /// At least `C` zeros.
    pub zeros: &'a [f32],
    /// The number of rows of lanes.
    pub rows: usize,
    /// `[C][phases]` planes, which begin with `[rows + halo][vectors · LANES]`.
    pub lanes: &'a mut [f32],
}

/// The pixels of each lane in a phase.
struct Columns {
    /// The index of the first row's pixel, which may lie outside the image.
    pixel: [isize; PLACES],
    /// The row of that pixel. A lane without pixels starts below every image.
    y: [isize; PLACES],
}

impl Load<'_> {
    /// The columns of input pixels for phase `phase`.
    fn columns(&self, phase: [usize; 2]) -> Columns {
        let Self { g, taps, .. } = self;
        let [step_y, step_x] = g.stride.map(|stride| stride as isize);
        let [phase_y, phase_x] = phase.map(|offset| offset as isize);
        let mut columns = Columns { pixel: [0; PLACES], y: [self.source.height as isize; PLACES] };
        for (lane, place) in self.places.iter().enumerate() {
            let Some(place) = place else { continue };
            let x = (place.x + taps.center) * step_x + phase_x;
            if (0..g.w as isize).contains(&x) {
                let y = self.source.origin + (place.y as isize + taps.first_row) * step_y + phase_y;
                columns.pixel[lane] = ((place.image * self.source.height) as isize + y) * g.w as isize + x;
                columns.y[lane] = y;
            }
        }
        columns
    }
}

impl Kernel for Load<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (g, c, plane) = (self.g, self.g.c, self.shape.plane(self.taps));
        let phases = self.taps.phases.len();
        assert!(self.zeros.len() >= c && self.source.x.len() >= g.n * self.source.height * g.w * c);
        assert!(self.lanes.len() >= c * phases * plane && self.shape.lanes == S::LANES);
        assert!(self.rows <= self.shape.input_rows(self.taps));
        let (x, zeros) = (self.source.x.as_ptr(), self.zeros.as_ptr());
        for (index, &phase) in self.taps.phases.iter().enumerate() {
            let columns = self.columns(phase);
            for row in 0..self.rows {
                let y = (row * g.stride[0]) as isize;
                for vector in 0..self.shape.vectors {
                    let mut pixels = [zeros; MAX_LANES];
                    for i in 0..S::LANES {
                        let lane = vector * S::LANES + i;
                        let pixel = columns.pixel[lane] + y * g.w as isize;
                        let inside = ((columns.y[lane] + y) as usize) < self.source.height;
                        pixels[i] = if inside { x.wrapping_offset(pixel * c as isize) } else { zeros };
                    }
                    let first = index * plane + row * self.shape.row() + vector * S::LANES;
                    let lanes = self.lanes[first..].as_mut_ptr();
                    // SAFETY: each pointer leads to a pixel of `x`, whose row and column are inside the image, or to
                    // the zeros: `c` floats. The vector of channel `i` starts `i · phases` planes after that of the
                    // first, and ends inside `lanes`, as asserted.
                    unsafe { transpose_pixels(s, &pixels, c, lanes, phases * plane) };
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
    let whole = channels / S::LANES * S::LANES;
    let mut rows = [s.zero(); MAX_LANES];
    // SAFETY: `LANES` floats follow each of the first `whole` channels of a pixel, and the others after those. The
    // caller guarantees that the vectors are writable.
    unsafe {
        for first in (0..whole).step_by(S::LANES) {
            for i in 0..S::LANES {
                rows[i] = s.load(pixels[i].add(first));
            }
            let columns = s.transpose(rows);
            for i in 0..S::LANES {
                s.store(lanes.add((first + i) * step), columns[i]);
            }
        }
        if whole < channels {
            for i in 0..S::LANES {
                rows[i] = s.load_partial(pixels[i].add(whole), channels - whole);
            }
            let columns = s.transpose(rows);
            for i in 0..channels - whole {
                s.store(lanes.add((whole + i) * step), columns[i]);
            }
        }
    }
}
