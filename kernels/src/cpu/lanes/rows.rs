//! Bands of images that are in row lanes: their rows are copied to the workspace, and a tile's sums are stored as rows.

use super::images::LaneImages;
use super::shape::Shape;
use super::taps::Taps;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::shared::Shared;
use crate::cpu::simd::activate::activate;
use crate::cpu::simd::{Kernel, Simd};
use std::ops::Range;

/// The part of some images that a task reads or writes: a group, from its row `y` on.
#[derive(Clone, Copy)]
pub(super) struct Section {
    pub images: LaneImages,
    pub group: usize,
    pub y: usize,
}

/// Copies the rows of a band's input, with zeros above and below the images and in lanes to their right.
pub(super) struct LoadRows<'a> {
    pub section: Section,
    pub channels: usize,
    pub taps: &'a Taps,
    pub shape: &'a Shape,
    pub x: &'a [f32],
    /// `[C]` planes of `[rows + halo][vectors · LANES]`.
    pub lanes: &'a mut [f32],
}

impl Kernel for LoadRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Section { images, group, y } = self.section;
        let (row, plane) = (images.row(), self.shape.plane(self.taps));
        assert!(self.x.len() >= (group + 1) * self.channels * images.plane());
        assert!(images.lanes == S::LANES && row == self.shape.row());
        // The first lane to the right of all pixels of a row.
        let end = if images.linked { images.width } else { S::LANES / images.width * images.width };
        for (channel, lanes) in self.lanes.chunks_exact_mut(plane).take(self.channels).enumerate() {
            let first = (group * self.channels + channel) * images.plane();
            let x = &self.x[first..first + images.plane()];
            for (i, to) in lanes.chunks_exact_mut(row).enumerate() {
                let y = y as isize + self.taps.first_row + i as isize;
                if !(0..images.height as isize).contains(&y) {
                    to.fill(0.0);
                    continue;
                }
                let from = &x[y as usize * row..][..row];
                for (v, to) in to.chunks_exact_mut(S::LANES).enumerate() {
                    let first = v * S::LANES;
                    let count = if images.linked { end.saturating_sub(first).min(S::LANES) } else { end };
                    s.put(to, s.get(&from[first..first + count]));
                }
            }
        }
    }
}

/// Stores a tile's sums as rows, with bias, residual and activation.
pub(super) struct FinishRows<'a> {
    pub section: Section,
    pub shape: &'a Shape,
    /// The tile's first row in the band.
    pub row: usize,
    /// The number of filters of the convolution, and those of the task.
    pub channels: usize,
    pub filters: Range<usize>,
    /// The sums of the filters, `[filter][rows][vectors · LANES]`.
    pub sums: &'a [f32],
    /// The residual is in row lanes, too.
    pub epilogue: &'a Epilogue<'a>,
    pub y: Shared<'a>,
}

impl Kernel for FinishRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Section { images, group, y } = self.section;
        let (row, tile) = (images.row(), self.shape.tile() * S::LANES);
        assert!(images.lanes == S::LANES && row == self.shape.row());
        // The rows of the tile that are in the band and in the image.
        let rows = self.shape.rows.min(self.shape.band.saturating_sub(self.row));
        let rows = rows.min(images.height.saturating_sub(y + self.row));
        if rows == 0 {
            return;
        }
        for (i, filter) in self.filters.clone().enumerate() {
            let bias = s.splat(self.epilogue.bias.map_or(0.0, |bias| bias[filter]));
            let at = (group * self.channels + filter) * images.plane() + (y + self.row) * row;
            let sums = &self.sums[i * tile..][..rows * row];
            let residual = self.epilogue.residual.map(|residual| &residual[at..at + rows * row]);
            // SAFETY: no other task has these rows of this filter.
            let out = unsafe { self.y.range(at, rows * row) };
            for (v, out) in out.chunks_exact_mut(S::LANES).enumerate() {
                let lanes = v * S::LANES..(v + 1) * S::LANES;
                let mut sum = s.add(s.get(&sums[lanes.clone()]), bias);
                if let Some(residual) = residual {
                    sum = s.add(sum, s.get(&residual[lanes]));
                }
                s.put(out, activate(s, self.epilogue.activation, sum));
            }
        }
    }
}
