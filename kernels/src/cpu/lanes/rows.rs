//! Bands of images that are in row lanes: their rows are copied to the workspace, and a tile's sums are stored as rows.

use super::images::LaneImages;
use super::shape::Shape;
use super::taps::Taps;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::shared::Shared;
use crate::cpu::simd::activate::Ending;
use crate::cpu::simd::{Kernel, Simd};
use std::ops::Range;

/// The part of some images that a task reads or writes: a group, from its row `y` on.
#[derive(Clone, Copy)]
pub(super) struct Section {
    pub images: LaneImages,
    pub group: usize,
    pub y: usize,
}

impl Section {
    /// The number of rows of a tile that are in its band and in the images, from row `row` of the band on.
    pub fn rows(&self, shape: &Shape, row: usize) -> usize {
        let rows = shape.rows.min(shape.band.saturating_sub(row));
        rows.min(self.images.height.saturating_sub(self.y + row))
    }

    /// The start of row `row` of the band in channel `channel` of `channels`.
    pub fn start(&self, channels: usize, channel: usize, row: usize) -> usize {
        (self.group * channels + channel) * self.images.plane() + (self.y + row) * self.images.row()
    }
}

/// Copies the rows of a band's input, with zeros above and below the images and in lanes to their right.
pub(super) struct LoadRows<'a> {
    pub section: Section,
    pub channels: usize,
    pub taps: &'a Taps,
    pub shape: &'a Shape,
    pub x: &'a [f32],
    /// `[C]` planes, which begin with `[rows + halo][vectors · LANES]`.
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
        let full = end == if images.linked { row } else { S::LANES };
        // The rows of the band that are in the images.
        let rows = self.shape.input_rows(self.taps);
        let above = (-(y as isize + self.taps.first_row)).clamp(0, rows as isize) as usize;
        let first = (y as isize + self.taps.first_row + above as isize) as usize;
        let count = images.height.saturating_sub(first).min(rows - above);
        for (channel, lanes) in self.lanes.chunks_exact_mut(plane).take(self.channels).enumerate() {
            let x = &self.x[(group * self.channels + channel) * images.plane()..][..images.plane()];
            let (zeros, lanes) = lanes.split_at_mut(above * row);
            let (lanes, below) = lanes.split_at_mut(count * row);
            zeros.fill(0.0);
            below.fill(0.0);
            if count == 0 {
                continue;
            }
            let x = &x[first * row..][..count * row];
            if full {
                lanes.copy_from_slice(x);
                continue;
            }
            for (to, from) in lanes.chunks_exact_mut(row).zip(x.chunks_exact(row)) {
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
        let ending = Ending::new(self.epilogue.activation);
        let images = self.section.images;
        let (row, tile) = (images.row(), self.shape.tile() * S::LANES);
        assert!(images.lanes == S::LANES && row == self.shape.row());
        let len = self.section.rows(self.shape, self.row) * row;
        if len == 0 {
            return;
        }
        for (i, filter) in self.filters.clone().enumerate() {
            let bias = s.splat(self.epilogue.bias.map_or(0.0, |bias| bias[filter]));
            let at = self.section.start(self.channels, filter, self.row);
            let sums = self.sums[i * tile..][..len].chunks_exact(S::LANES);
            // SAFETY: no other task has these rows of this filter.
            let rows = unsafe { self.y.range(at, len) };
            let out = rows.chunks_exact_mut(S::LANES);
            match self.epilogue.residual {
                None => {
                    for (out, sum) in out.zip(sums) {
                        s.put(out, ending.in_registers(s, s.add(s.get(sum), bias)));
                    }
                }
                Some(residual) => {
                    let residual = residual[at..at + len].chunks_exact(S::LANES);
                    for ((out, sum), residual) in out.zip(sums).zip(residual) {
                        let sum = s.add(s.add(s.get(sum), bias), s.get(residual));
                        s.put(out, ending.in_registers(s, sum));
                    }
                }
            }
            ending.in_place(s, rows);
        }
    }
}
