//! Residuals in another layout than the output: bias and residual are added to a tile's sums before these are stored.
//!
//! ```text
//!   residual        output          sums [filter][row][lane] +=
//!   channels-last   row lanes       pixels, transposed in registers
//!   row lanes       channels-last   rows; the sums are transposed later
//! ```
//!
//! Each output is still `activation((sum + bias) + residual)`, so that the layouts do not change its bits.

use super::finish::Targets;
use super::rows::Section;
use super::shape::Shape;
use crate::cpu::simd::partial::load_lanes;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::shapes::Conv2d;
use std::ops::Range;

/// Adds a channels-last residual. Lanes that are not stored keep any value.
pub(super) struct AddPixels<'a> {
    pub g: &'a Conv2d,
    pub shape: &'a Shape,
    pub targets: &'a Targets,
    /// The tile's first row in the band.
    pub row: usize,
    pub filters: Range<usize>,
    pub bias: Option<&'a [f32]>,
    /// `[N, OH, OW, O]`.
    pub residual: &'a [f32],
    /// The sums of the filters, `[filter][rows][vectors · LANES]`.
    pub sums: &'a mut [f32],
}

impl Kernel for AddPixels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (g, tile) = (self.g, self.shape.tile() * S::LANES);
        assert!(self.sums.len() >= self.filters.len() * tile && self.shape.lanes == S::LANES);
        assert!(self.filters.end <= g.o && self.residual.len() >= g.y_len());
        for vector in 0..self.shape.tile() {
            let (row, first) =
                (vector / self.shape.vectors + self.row, vector % self.shape.vectors * S::LANES);
            for filter in self.filters.clone().step_by(S::LANES) {
                let count = S::LANES.min(self.filters.end - filter);
                let mut pixels = [s.zero(); MAX_LANES];
                for (lane, pixel) in (first..).zip(pixels.iter_mut().take(S::LANES)) {
                    if row < self.targets.rows[lane] {
                        let at = self.targets.offset[lane] + row * g.ow() * g.o + filter;
                        // SAFETY: a stored lane is a pixel of the output, whose row of `o ≥ filter + count` floats the
                        // residual has, too.
                        *pixel = unsafe { load_lanes(s, self.residual.as_ptr().add(at), count) };
                    }
                }
                let residuals = s.transpose(pixels);
                for (i, &residual) in residuals.iter().enumerate().take(count) {
                    let at = (filter - self.filters.start + i) * tile + vector * S::LANES;
                    let bias = s.splat(self.bias.map_or(0.0, |bias| bias[filter + i]));
                    let sums = &mut self.sums[at..at + S::LANES];
                    let sum = s.add(s.get(sums), bias);
                    s.put(sums, s.add(sum, residual));
                }
            }
        }
    }
}

/// Adds a residual in row lanes.
pub(super) struct AddRows<'a> {
    pub section: Section,
    pub shape: &'a Shape,
    /// The tile's first row in the band.
    pub row: usize,
    /// The number of filters of the convolution, and those of the task.
    pub channels: usize,
    pub filters: Range<usize>,
    pub bias: Option<&'a [f32]>,
    pub residual: &'a [f32],
    /// The sums of the filters, `[filter][rows][vectors · LANES]`.
    pub sums: &'a mut [f32],
}

impl Kernel for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (images, tile) = (self.section.images, self.shape.tile() * S::LANES);
        assert!(images.lanes == S::LANES && images.row() == self.shape.row());
        let len = self.section.rows(self.shape, self.row) * images.row();
        if len == 0 {
            return;
        }
        for (i, filter) in self.filters.clone().enumerate() {
            let bias = s.splat(self.bias.map_or(0.0, |bias| bias[filter]));
            let at = self.section.start(self.channels, filter, self.row);
            let residual = &self.residual[at..at + len];
            let sums = &mut self.sums[i * tile..][..len];
            for (sums, residual) in sums.chunks_exact_mut(S::LANES).zip(residual.chunks_exact(S::LANES)) {
                let sum = s.add(s.get(sums), bias);
                s.put(sums, s.add(sum, s.get(residual)));
            }
        }
    }
}
