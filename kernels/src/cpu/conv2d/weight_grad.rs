//! The gradient with respect to the weight, a product whose reduction runs over pixels.
//!
//! ```text
//!   for chunk of the pixels, block of filters, block of panels        one task
//!     for step of 256 pixels
//!       pack dy: strips of one vector of filters, whose columns are the tile kernel's A
//!       for panel of up to 48 columns (tap, c)
//!         pack x: 256 × NR, its B                     L1 to L2 cache
//!         for tile of 8 filters
//!           C += A · B                                C: this chunk's partial gradient
//!   sum the chunks' partial gradients in their order
//! ```
//!
//! Each task packs its own filters of dy and columns of x, so blocks are large. Chunks keep all threads busy if the
//! gradient is small and the image is large. Blocks and chunks depend only on the shape, so the results are
//! bit-identical for any number of threads. An image with few channels is padded first, so that a kernel row is one run
//! of columns.

use super::image_rows::ImageRows;
use super::padded::{self, forward_taps, forward_windows};
use super::partial_sums::sum_chunks;
use super::windows::Windows;
use super::winograd;
use crate::cpu::Cpu;
use crate::cpu::conv2d::depthwise;
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::gemm::panels::{Panel, split_columns};
use crate::cpu::gemm::tile::{MAX_MR, MAX_NR, Rows, Tile};
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::simd::partial::{load_lanes, store_lanes};
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Conv2d;
use bytemuck::cast_slice;
use rayon::prelude::*;
use std::ops::Range;

/// The number of pixels between two updates of C. A panel of x then takes 48 KiB, and a strip of dy 16 KiB.
const STEP: usize = 256;
/// The distance between the starts of two strips, in pixels. A power of two would map all strips to the same cache set.
const STRIP: usize = STEP + 2;
/// The target number of tasks.
const TASKS: usize = 8;
/// The maximum number of filters per block, whose strips take 512 KiB, a quarter of an L2 cache.
const BLOCK_FILTERS: usize = 512;
/// The minimum number of columns per task; `MIN_CHUNK` is that of pixels.
const MIN_COLUMNS: usize = 192;
const MIN_CHUNK: usize = 1024;

/// The division of the product into tasks.
struct Division {
    /// The number of chunks of pixels; each has `chunk` pixels.
    chunks: usize,
    chunk: usize,
    /// The number of blocks of a group's filters; each has `filters_each` filters.
    filter_blocks: usize,
    filters_each: usize,
    /// The number of blocks of panels; each has `panels_each` panels.
    panel_blocks: usize,
    panels_each: usize,
}

impl Division {
    fn new(pixels: usize, groups: usize, filters: usize, columns: usize, panels: usize) -> Self {
        let filter_blocks = filters.div_ceil(BLOCK_FILTERS);
        let filters_each = filters.div_ceil(filter_blocks).next_multiple_of(MAX_MR);
        let filter_blocks = filters.div_ceil(filters_each);
        // Prefer large blocks of panels, then more chunks, and only then smaller blocks.
        let others = groups * filter_blocks;
        let panel_blocks = (columns / MIN_COLUMNS).clamp(1, TASKS.div_ceil(others));
        let chunks = TASKS.div_ceil(others * panel_blocks).min(pixels / MIN_CHUNK).max(1);
        let chunk = pixels.div_ceil(chunks);
        let panel_blocks = panel_blocks.max(TASKS.div_ceil(others * chunks)).min(panels);
        let panels_each = panels.div_ceil(panel_blocks);
        Self {
            chunks: pixels.div_ceil(chunk),
            chunk,
            filter_blocks,
            filters_each,
            panel_blocks: panels.div_ceil(panels_each),
            panels_each,
        }
    }
}

/// Computes the gradient with respect to the weight: `x` `[N, H, W, C]`, `dy` `[N, OH, OW, O]` → `dw`
/// `[O, KH, KW, C/G]`.
pub fn conv2d_weight_grad(cpu: &Cpu, g: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    assert_eq!(
        (x.len(), dy.len(), dw.len()),
        (g.x_len(), g.y_len(), g.w_len()),
        "slices have their shapes' lengths"
    );
    if depthwise::applies(g) {
        return depthwise::weight_grad(cpu, g, x, dy, dw);
    }
    if !cpu.is_strict() && winograd::weight_grad_pays(g) {
        return winograd::weight_grad(cpu, g, x, dy, dw);
    }
    let all = ImageRows::all(g);
    let padded = padded::applies(g).then(|| padded::images(cpu, g, &all, x));
    let x = padded.as_deref().unwrap_or(x);
    let taps = forward_taps(g);
    let windows = forward_windows(g, &all, &taps);
    let run = windows.row_len / g.groups;
    let (pixels, filters, columns) = (windows.count(), g.o / g.groups, g.w_len() / g.o);
    let panels = split_columns(cpu.backend.tiles(Types::F32), columns, STEP, 0);
    let division = Division::new(pixels, g.groups, filters, columns, panels.len());
    let Division { chunks, chunk, filter_blocks, filters_each, panel_blocks, panels_each } = division;

    let zeros = cpu.zeros(windows.row_len);
    let mut scratch = cpu.scratch(if chunks > 1 { chunks * g.w_len() } else { 0 });
    let partial = Shared::new(if chunks > 1 { &mut scratch } else { &mut *dw });
    let product = WeightGrad { cpu, g, windows, x, run, dy, zeros: &zeros, columns };
    cpu.run(|| {
        (0..chunks * g.groups * filter_blocks * panel_blocks).into_par_iter().with_max_len(1).for_each(
            |task| {
                let (task, first) = (task / panel_blocks, task % panel_blocks * panels_each);
                let panels = &panels[first..(first + panels_each).min(panels.len())];
                let (task, first) = (task / filter_blocks, task % filter_blocks * filters_each);
                let (at, group) = (task / g.groups, task % g.groups);
                let block = first + group * filters..(first + filters_each).min(filters) + group * filters;
                let pixels = at * chunk..((at + 1) * chunk).min(pixels);
                let c = partial.as_mut_ptr().wrapping_add(at * g.w_len());
                cpu.with_workspace(|workspace| product.task(pixels, group, block, panels, c, workspace));
            },
        );
    });
    if chunks > 1 {
        sum_chunks(cpu, &scratch, dw);
    }
}

struct WeightGrad<'a> {
    cpu: &'a Cpu,
    g: &'a Conv2d,
    windows: Windows<'a>,
    x: &'a [f32],
    /// The number of columns per tap, which are adjacent in x.
    run: usize,
    dy: &'a [f32],
    zeros: &'a [f32],
    /// The number of columns of the gradient.
    columns: usize,
}

impl<'a> WeightGrad<'a> {
    /// The parts of dy and x that a task on `filters` and `panels` packs for the pixels `after`, if they are contiguous.
    fn ahead(&self, after: Range<usize>, filters: &Range<usize>, panels: &[Panel]) -> Ahead<'a> {
        let part = |data: &'a [f32], row: usize, whole: bool| {
            let len = (after.len() * row).min(Ahead::MOST);
            if whole { &data[after.start * row..][..len] } else { &[][..] }
        };
        let columns = panels.iter().map(|panel| panel.width).sum::<usize>();
        let every_column = self.windows.are_contiguous() && columns == self.columns && self.g.groups == 1;
        let parts =
            [part(self.dy, self.g.o, filters.len() == self.g.o), part(self.x, self.g.c, every_column)];
        let tiles = |panel: &Panel| filters.len().div_ceil(panel.kernel.mr);
        let blocks: usize = parts.iter().map(|part| part.len().div_ceil(STEP * Ahead::LINE)).sum();
        Ahead { parts, wait: panels.iter().map(tiles).sum::<usize>().saturating_sub(blocks) }
    }

    /// Overwrites the rows `filters` and the columns of `panels` of the partial gradient `c` with the sum over
    /// `pixels`.
    fn task(
        &self,
        pixels: Range<usize>,
        group: usize,
        filters: Range<usize>,
        panels: &[Panel],
        c: *mut f32,
        workspace: &mut Workspace,
    ) {
        // Only the taps of these columns are needed.
        let last = panels[panels.len() - 1];
        let first_tap = panels[0].start / self.run;
        let taps = &self.windows.taps[first_tap..(last.start + last.width).div_ceil(self.run)];
        let windows = Windows { taps, ..self.windows };

        let lanes = self.cpu.backend.tiles(Types::F32)[0].nr;
        let Workspace { rows, out, floats } = workspace;
        let strips_len = (filters.len().next_multiple_of(lanes) * STRIP).next_multiple_of(16);
        let floats = Workspace::floats(floats, strips_len + STEP * MAX_NR);
        let (strips, packed) = floats.split_at_mut(strips_len);
        // Register tiles may extend beyond the last filter; they repeat it and do not store the repeats.
        let filter = |i: usize| i.min(filters.len() - 1);
        let a: Vec<*const f32> = (0..filters.len() + MAX_MR)
            .map(|i| strips[filter(i) / lanes * STRIP * lanes + filter(i) % lanes..].as_ptr())
            .collect();
        out.clear();
        out.extend((0..filters.len() + MAX_MR).map(|i| (filters.start + filter(i)) * self.columns));

        for first in pixels.clone().step_by(STEP) {
            let count = STEP.min(pixels.end - first);
            windows.rows(self.x, self.zeros, first, count, STEP, rows);
            let dy = &self.dy[first * self.g.o..(first + count) * self.g.o];
            self.cpu.dispatch(PackStrips { dy, row: self.g.o, filters: filters.clone(), strips });
            let after = first + count..pixels.end.min(first + count + STEP);
            let mut ahead = self.ahead(after, &filters, panels);
            for panel in panels {
                let (run, start) = (self.run, panel.start - first_tap * self.run);
                let channel = group * self.g.c / self.g.groups;
                self.cpu.dispatch(PackWindows { rows, start, run, channel, count, panel, packed });
                for i in (0..filters.len()).step_by(panel.kernel.mr) {
                    let rows = Rows {
                        rows: a[i..].as_ptr(),
                        segments: 1,
                        len: count,
                        row_stride: MAX_MR,
                        a_offset: 0,
                        a_step: lanes,
                    };
                    let size = [panel.kernel.mr.min(filters.len() - i), panel.width];
                    let (c, accumulate) = (c.wrapping_add(panel.start), first > pixels.start);
                    let mut tile = Tile::new(rows, cast_slice(packed), c, &out[i..], size, accumulate);
                    tile.next = ahead.next(count).unwrap_or(tile.next);
                    // SAFETY: the kernel comes from a backend that this machine supports. A strip holds `count` steps
                    // of `lanes` filters, B has `count` rows of `nr` floats, and the tables have MAX_MR entries from
                    // `i` on. Only this task writes these rows and columns of the partial gradient.
                    unsafe { (panel.kernel.run)(&tile) }
                }
            }
        }
    }
}

/// Memory to prefetch during the tiles of a step, because the next step packs it.
struct Ahead<'a> {
    parts: [&'a [f32]; 2],
    /// The number of tiles that prefetch nothing yet.
    wait: usize,
}

impl Ahead<'_> {
    /// The number of floats in a cache line.
    const LINE: usize = 16;
    /// At most this many floats of each part are prefetched, 256 KiB: the L2 cache also holds the strips.
    const MOST: usize = 1 << 16;

    /// Returns the start of the next `lines` cache lines.
    fn next(&mut self, lines: usize) -> Option<*const u8> {
        if self.wait > 0 {
            self.wait -= 1;
            return None;
        }
        let part = self.parts.iter_mut().find(|part| !part.is_empty())?;
        let (now, later) = part.split_at(part.len().min(lines * Self::LINE));
        *part = later;
        Some(now.as_ptr().cast())
    }
}

/// Copies `strips[filter / LANES][p][filter % LANES] = dy[p][filter]`, with STRIP pixels per strip. If a tile read dy
/// directly, each of its steps would touch another page. Filters that do not exist become zeros.
struct PackStrips<'a> {
    dy: &'a [f32],
    /// The number of floats per pixel.
    row: usize,
    filters: Range<usize>,
    strips: &'a mut [f32],
}

impl Kernel for PackStrips<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (p, pixel) in self.dy.chunks_exact(self.row).enumerate() {
            let pixel = &pixel[self.filters.clone()];
            let strips = self.strips.chunks_mut(STRIP * S::LANES);
            for (filters, strip) in pixel.chunks(S::LANES).zip(strips) {
                s.put(&mut strip[p * S::LANES..][..S::LANES], s.get(filters));
            }
        }
    }
}

/// Packs the columns of a panel for `count` pixels, one run of adjacent floats per tap. Columns count from the first
/// tap in `rows`.
struct PackWindows<'a> {
    rows: &'a [*const f32],
    start: usize,
    /// The number of columns per tap; they begin at `channel` in a pixel.
    run: usize,
    channel: usize,
    count: usize,
    panel: &'a Panel,
    packed: &'a mut [f32],
}

impl Kernel for PackWindows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (nr, width) = (self.panel.kernel.nr, self.panel.width);
        let packed = &mut self.packed[..self.count * nr];
        if width < nr {
            packed.fill(0.0);
        }
        let mut column = 0;
        while column < width {
            let (tap, offset) = ((self.start + column) / self.run, (self.start + column) % self.run);
            let run = (self.run - offset).min(width - column);
            let rows = &self.rows[tap * STEP..][..self.count];
            let (offset, to) = (self.channel + offset, &mut packed[column..]);
            // SAFETY: a row is one of x or of zeros and has the windows' `row_len = groups · self.run` floats; the run
            // lies inside its group's part. A row of `packed` has `nr ≥ column + run` floats.
            unsafe {
                match (run / S::LANES, run % S::LANES) {
                    (0, _) => copy_rows::<S, 1>(s, rows, offset, run, to, nr),
                    (1, 0) => copy_rows::<S, 1>(s, rows, offset, run, to, nr),
                    (1, _) | (2, 0) => copy_rows::<S, 2>(s, rows, offset, run, to, nr),
                    (2, _) | (3, 0) => copy_rows::<S, 3>(s, rows, offset, run, to, nr),
                    _ => unreachable!("a panel is at most three vectors wide"),
                }
            }
            column += run;
        }
    }
}

/// Copies `run` floats, at most `VECTORS` vectors, from `rows[p] + offset` to row `p` of `to`. The rows of `to` are
/// `nr` floats apart.
///
/// # Safety
/// Each row has at least `run` floats from `offset` on, and `run` is more than `VECTORS − 1` vectors.
#[inline(always)]
unsafe fn copy_rows<S: Simd, const VECTORS: usize>(
    s: S,
    rows: &[*const f32],
    offset: usize,
    run: usize,
    to: &mut [f32],
    nr: usize,
) {
    assert!(rows.is_empty() || to.len() >= (rows.len() - 1) * nr + run);
    let last = run - (VECTORS - 1) * S::LANES;
    for (p, row) in rows.iter().enumerate() {
        for v in 0..VECTORS {
            let lanes = if v + 1 < VECTORS { S::LANES } else { last };
            // SAFETY: the caller guarantees that the row is long enough; the assertion covers the last row of `to`.
            unsafe {
                let from = load_lanes(s, row.add(offset + v * S::LANES), lanes);
                store_lanes(s, to.as_mut_ptr().add(p * nr + v * S::LANES), from, lanes);
            }
        }
    }
}
