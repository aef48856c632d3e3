//! Conversion of a tile's sums to channels-last pixels, with bias, residual and activation.
//!
//! ```text
//!   [filter][row][lane]                         [pixel][filter]
//!   f₀   p₀ p₁ … p₁₅       transpose            p₀  f₀ f₁ … f₁₅    + bias, + residual, activation
//!   f₁   p₀ p₁ … p₁₅      ──────────►           p₁  f₀ f₁ … f₁₅
//!   ⋮                                           ⋮
//! ```

use super::places::{PLACES, Places};
use super::shape::Shape;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::tile::prefetch_for_write;
use crate::cpu::simd::activate::activate;
use crate::cpu::simd::partial::{load_lanes, store_lanes};
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::shapes::Conv2d;
use std::ops::Range;

/// The output pixels of the lanes of a band.
pub(super) struct Targets {
    /// The offset in the output of the first row's pixel.
    pub(super) offset: [usize; PLACES],
    /// The number of rows that are stored.
    pub(super) rows: [usize; PLACES],
}

impl Targets {
    /// The targets of the lanes at `places` in the output of `g`.
    pub fn new(g: &Conv2d, shape: &Shape, places: &Places) -> Self {
        let mut targets = Self { offset: [0; PLACES], rows: [0; PLACES] };
        for (lane, place) in places.iter().enumerate() {
            if let Some(place) = place.filter(|place| place.stored) {
                let pixel = (place.image * g.oh() + place.y) * g.ow() + place.x as usize;
                targets.offset[lane] = pixel * g.o;
                targets.rows[lane] = shape.band.min(g.oh().saturating_sub(place.y));
            }
        }
        targets
    }
}

/// Converts a tile's sums to pixels.
pub(super) struct Finish<'a> {
    pub g: &'a Conv2d,
    pub shape: &'a Shape,
    pub targets: &'a Targets,
    /// The tile's first row in the band.
    pub row: usize,
    pub filters: Range<usize>,
    /// The sums of the filters, `[filter][rows][vectors · LANES]`.
    pub sums: &'a [f32],
    pub epilogue: &'a Epilogue<'a>,
    /// `[N, OH, OW, O]`.
    pub y: Shared<'a>,
}

/// The operands of the epilogue for some filters: pointers to their first element.
struct End<'a> {
    epilogue: &'a Epilogue<'a>,
    y: *mut f32,
    /// The first filter, and their number.
    filter: usize,
    count: usize,
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let tile = self.shape.tile() * S::LANES;
        assert!(self.sums.len() >= self.filters.len() * tile && self.shape.lanes == S::LANES);
        assert!(self.filters.end <= self.g.o && self.y.len() >= self.g.y_len());
        self.epilogue.check(self.g.o, self.g.y_len());
        for row in 0..self.shape.rows {
            for vector in 0..self.shape.vectors {
                let (mut pixels, mut stored) = ([0; MAX_LANES], 0);
                for i in 0..S::LANES {
                    let lane = vector * S::LANES + i;
                    pixels[i] = self.targets.offset[lane] + (self.row + row) * self.g.ow() * self.g.o;
                    stored |= u32::from(self.row + row < self.targets.rows[lane]) << i;
                }
                if stored == 0 {
                    continue;
                }
                let sums = &self.sums[(row * self.shape.vectors + vector) * S::LANES..];
                for first in (0..self.filters.len()).step_by(S::LANES) {
                    let (filter, count) =
                        (self.filters.start + first, S::LANES.min(self.filters.len() - first));
                    let end = End { epilogue: self.epilogue, y: self.y.as_mut_ptr(), filter, count };
                    // The lines arrive while the sums are transposed; stores would wait for one after another.
                    for &pixel in &pixels[..S::LANES] {
                        prefetch_for_write(end.y.wrapping_add(pixel + filter));
                    }
                    // SAFETY: the sums of `count` filters, a tile apart, end inside `sums`, as asserted. Each stored
                    // lane is a pixel of the output, which has a row of `o ≥ filter + count` floats, as the residual
                    // has. No other lane or task has this pixel and these filters.
                    unsafe {
                        end.put(
                            s,
                            transpose_sums(s, sums.as_ptr().add(first * tile), tile, count),
                            &pixels,
                            stored,
                        )
                    }
                }
            }
        }
    }
}

/// The sums of `count` filters, `step` floats apart, as one vector for each lane.
///
/// # Safety
/// Each of the `count` vectors is readable.
#[inline(always)]
unsafe fn transpose_sums<S: Simd>(s: S, sums: *const f32, step: usize, count: usize) -> [S::F; MAX_LANES] {
    let mut rows = [s.zero(); MAX_LANES];
    // SAFETY: guaranteed by the caller.
    unsafe {
        if count == S::LANES {
            for i in 0..S::LANES {
                rows[i] = s.load(sums.add(i * step));
            }
        } else {
            for (i, row) in rows.iter_mut().enumerate().take(count) {
                *row = s.load(sums.add(i * step));
            }
        }
    }
    s.transpose(rows)
}

impl End<'_> {
    /// Stores the sums of the lanes in `stored` at the offsets of their pixels.
    ///
    /// # Safety
    /// Bias, residual and output have `count ≤ LANES` floats for the filters of each stored pixel, which nothing else
    /// accesses.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, sums: [S::F; MAX_LANES], pixels: &[usize; MAX_LANES], stored: u32) {
        let Epilogue { bias, residual, activation } = *self.epilogue;
        // SAFETY: guaranteed by the caller.
        unsafe {
            // A sum is never −0.0, so that adding 0.0 changes nothing.
            let bias = bias.map_or(s.zero(), |b| load_lanes(s, b.as_ptr().add(self.filter), self.count));
            match activation.bounds() {
                Some(bounds) if self.count == S::LANES => {
                    let bounds = [s.splat(bounds[0]), s.splat(bounds[1])];
                    // A loop without conditions is unrolled, so that the sums stay in registers.
                    if residual.is_none() && stored == (1 << S::LANES) - 1 {
                        for i in 0..S::LANES {
                            self.put_whole(s, s.add(sums[i], bias), bounds, pixels[i] + self.filter);
                        }
                    } else {
                        for i in (0..S::LANES).filter(|i| stored >> i & 1 == 1) {
                            let at = pixels[i] + self.filter;
                            let mut v = s.add(sums[i], bias);
                            if let Some(residual) = residual {
                                v = s.add(v, s.load(residual.as_ptr().add(at)));
                            }
                            self.put_whole(s, v, bounds, at);
                        }
                    }
                }
                _ => {
                    for i in (0..S::LANES).filter(|i| stored >> i & 1 == 1) {
                        let at = pixels[i] + self.filter;
                        let mut v = s.add(sums[i], bias);
                        if let Some(residual) = residual {
                            v = s.add(v, load_lanes(s, residual.as_ptr().add(at), self.count));
                        }
                        store_lanes(s, self.y.add(at), activate(s, activation, v), self.count);
                    }
                }
            }
        }
    }

    /// Stores a whole vector at `at`, clamped to these bounds.
    ///
    /// # Safety
    /// The output has a vector at `at`.
    #[inline(always)]
    unsafe fn put_whole<S: Simd>(&self, s: S, v: S::F, [low, high]: [S::F; 2], at: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe { s.store(self.y.add(at), s.min(high, s.max(low, v))) }
    }
}
