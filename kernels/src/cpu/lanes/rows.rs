//! Bands of images that are in row lanes: their rows are copied to the workspace, and a tile's sums are stored as rows, if
//! possible from registers.

use super::images::LaneImages;
use super::shape::Shape;
use super::taps::Taps;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::shared::Shared;
use crate::cpu::simd::activate::{Ending, clamp};
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

/// The end of tiles whose sums are stored as rows from registers: with bias, a residual in row lanes and a clamp.
pub(super) struct RowsEnd<'a> {
    bias: Option<&'a [f32]>,
    /// The first filter's part of the residual, if there is one, and of the output.
    residual: *const f32,
    y: *mut f32,
    /// The distance between two filters' parts.
    plane: usize,
    filters: usize,
    /// The number of vectors of the tile.
    pub vectors: usize,
    bounds: [f32; 2],
}

impl<'a> RowsEnd<'a> {
    /// The end of the tile of `filters` from row `row` of the band on, if all its rows are in the images and the activation
    /// is a clamp. `channels` is the number of filters of the convolution. The residual is in row lanes, too.
    pub fn new(
        section: Section,
        shape: &Shape,
        row: usize,
        (channels, filters): (usize, Range<usize>),
        epilogue: &Epilogue<'a>,
        y: Shared,
    ) -> Option<Self> {
        let bounds = epilogue.activation.bounds()?;
        if section.rows(shape, row) < shape.rows || filters.is_empty() {
            return None;
        }
        let len = shape.rows * shape.row();
        let [first, last] =
            [filters.start, filters.end - 1].map(|filter| section.start(channels, filter, row));
        assert!(
            section.images.row() == shape.row() && last + len <= y.len(),
            "the output has the tile's rows"
        );
        let residual = epilogue.residual.map(|residual| residual[first..last + len].as_ptr());
        Some(Self {
            bias: epilogue.bias.map(|bias| &bias[filters.clone()]),
            residual: residual.unwrap_or(std::ptr::null()),
            y: y.as_mut_ptr().wrapping_add(first),
            plane: section.images.plane(),
            filters: filters.len(),
            vectors: shape.tile(),
            bounds,
        })
    }

    /// Stores the sums of the filters from `filter` on, of which those beyond the last one do not exist.
    ///
    /// # Safety
    /// `N` is the number of the tile's vectors, and no other task has its rows of these filters.
    #[inline(always)]
    pub unsafe fn store<S: Simd, const T: usize, const N: usize>(
        &self,
        s: S,
        sums: [[S::F; N]; T],
        filter: usize,
    ) {
        for f in 0..T.min(self.filters - filter) {
            let at = (filter + f) * self.plane;
            let bias = s.splat(self.bias.map_or(0.0, |bias| bias[filter + f]));
            let mut sums = sums[f];
            for i in 0..N {
                sums[i] = s.add(sums[i], bias);
            }
            // SAFETY: as `new` asserts, the output and the residual have `N` vectors for each filter, `plane` apart.
            unsafe {
                if !self.residual.is_null() {
                    for i in 0..N {
                        sums[i] = s.add(sums[i], s.load(self.residual.add(at + i * S::LANES)));
                    }
                }
                for i in 0..N {
                    s.store(self.y.add(at + i * S::LANES), clamp(s, self.bounds, sums[i]));
                }
            }
        }
    }
}
