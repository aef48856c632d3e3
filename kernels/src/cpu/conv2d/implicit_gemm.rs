//! The loop nest around the tile kernel for every computation with the structure of a forward convolution.
//!
//! ```text
//!  for block of ~128 windows, group of panels          one task; no other task writes its parts of y
//!    find A's row pointers: taps × windows              once, for all panels; or gather the live channels of A's rows
//!    for panel of up to 48 filters                      packed weights stream from the L2 cache
//!      for chunk of the reduction                       as much of a panel as that cache holds
//!        for tile of 8 windows                          tile kernel, one call: taps × channels in registers
//! ```
//!
//! Every element of y is one sum, in the order taps, channels, regardless of which task computes it. The results are
//! therefore bit-identical for any number of threads.

use super::Epilogue;
use super::gather::WindowGather;
use super::scatter::Scatter;
use super::windows::Windows;
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::gemm::panels::Panel;
use crate::cpu::gemm::tile::{Rows, Tile};
use rayon::prelude::*;

/// The number of windows per task, rounded down to whole tiles: enough to use a panel loaded from memory often, few
/// enough that their pixels stay in the L2 cache beside it.
const BLOCK: usize = 128;

/// The minimum number of windows per task.
const MIN_BLOCK: usize = 32;

/// At most this many windows count as few. A task with few windows soon needs the next panel, so it prefetches one
/// panel ahead.
const FEW: usize = 64;

/// The number of steps of the reduction between two updates of C. A panel of 48 columns then takes 960 KiB, half of a
/// current L2 cache.
const CHUNK: usize = 5120;

/// An output of more floats is not in an L2 cache, so that storing a tile, or adding to it, waits for its lines unless
/// they are fetched early. For a smaller one, prefetching takes more time than it saves.
const FAR: usize = 1 << 18;

/// The number of floats that wait to be scattered together, in the L2 cache: where the columns of two scatters meet, they
/// store parts of a vector, which takes longer.
pub(super) const WAITING: usize = 1 << 15;

/// The number of tasks per thread, if the shape allows it, to even out their lengths.
const TASKS_PER_THREAD: usize = 4;

/// The same if only windows are divided, so that each task loads all panels.
const BLOCKS_PER_THREAD: usize = 2;

/// A product of windows and packed panels.
#[derive(Clone, Copy)]
pub(super) struct ImplicitGemm<'a> {
    pub windows: Windows<'a>,
    pub source: &'a [f32],
    /// What gathers the windows' pixels, which are then contiguous, from the wider ones of `source`.
    pub gather: Option<WindowGather<'a>>,
    /// A row of zeros, for taps in the padding and slots without a window.
    pub zeros: &'a [f32],
    pub panels: &'a [Panel],
    /// The packed panels, in the layout of their kernels.
    pub packed: &'a [u8],
    /// The number of floats that each tap contributes to the reduction.
    pub len: usize,
    pub scatter: Option<&'a Scatter>,
    pub epilogue: Epilogue<'a>,
}

impl ImplicitGemm<'_> {
    /// Computes the targets of all windows.
    pub(super) fn run(&self, cpu: &Cpu, y: Shared) {
        if self.panels.is_empty() {
            // There are no panels only if a scatter has no live filters.
            return self.scatter.expect("a product has columns").fill_all(cpu, &self.epilogue, y);
        }
        let row_len = self.windows.row_len;
        assert!(
            self.panels.iter().all(|panel| panel.a_offset + self.len <= row_len),
            "a reduction extends beyond its row"
        );
        let windows = self.windows.count();
        let mr = self.panels[0].kernel.mr;
        // Neighboring tasks, which one thread usually computes, share what is larger: panels, or windows with their results,
        // which other threads would have to fetch from its cache.
        let images = size_of_val(self.source) + size_of::<f32>() * self.windows.target_len();
        let panels_first = self.packed.len() > images;
        // Panels are divided first, because smaller blocks would load each panel more often. But a scatter's panels
        // meet in the middle of a cache line, for which two threads would fight if they wrote the same pixels, and each
        // group of panels would gather its pixels anew.
        let by_windows = self.gather.is_some() || self.scatter.is_some();
        let threads = cpu.thread_count();
        let wanted = match (threads, by_windows) {
            (1, _) => 1,
            (_, true) => threads * BLOCKS_PER_THREAD,
            (_, false) => threads * TASKS_PER_THREAD,
        };
        let wanted_blocks = match by_windows {
            true => wanted,
            false if panels_first => wanted.div_ceil(self.panels.len()),
            false => wanted.div_ceil(self.panels.len()).next_multiple_of(threads),
        };
        let smallest = MIN_BLOCK / mr * mr;
        let block = windows.div_ceil(wanted_blocks).next_multiple_of(mr).clamp(smallest, BLOCK / mr * mr);
        let blocks = windows.div_ceil(block);
        let groups = match self.gather {
            Some(_) if blocks >= threads => 1,
            _ => wanted.div_ceil(blocks).min(self.panels.len()),
        };
        let panels_each = self.panels.len().div_ceil(groups);
        let groups = self.panels.len().div_ceil(panels_each);
        cpu.run(|| {
            cpu.divide((0..blocks * groups).into_par_iter().with_max_len(1)).for_each(|task| {
                let (group, index) = match panels_first {
                    true => (task / blocks, task % blocks),
                    false => (task % groups, task / groups),
                };
                let first = index * block;
                let panels = group * panels_each..((group + 1) * panels_each).min(self.panels.len());
                cpu.with_workspace(|workspace| {
                    self.task(cpu, first, block.min(windows - first), panels, y, workspace)
                });
            });
        });
    }

    /// Computes a range of panels for `count` windows.
    fn task(
        &self,
        cpu: &Cpu,
        first: usize,
        count: usize,
        panels: std::ops::Range<usize>,
        y: Shared,
        workspace: &mut Workspace,
    ) {
        let Workspace { rows, out, floats } = workspace;
        let mr = self.panels[0].kernel.mr;
        let stride = count.next_multiple_of(mr);
        let nr = self.panels[panels.clone()].iter().map(|panel| panel.kernel.nr).max().unwrap_or(1);
        let together = self.scatter.map_or(panels.len(), |_| (WAITING / (count * nr)).max(1));
        let row = if self.scatter.is_some() { together * nr } else { 0 };
        let gathered = if self.gather.is_some() { count * self.windows.channels } else { 0 };
        let (waiting, gathered) = Workspace::floats(floats, count * row + gathered).split_at_mut(count * row);
        self.windows.targets(first, count, out);
        if let Some(gather) = self.gather {
            gather.pixels(cpu, self.source, first, gathered);
            self.windows.rows_of_pixels(gathered, self.zeros, stride, rows);
        } else {
            self.windows.rows(self.source, self.zeros, first, count, stride, rows);
        }
        let contiguous = self.windows.are_contiguous() && self.gather.is_none();
        let local = self.scatter.map(|_| std::array::from_fn::<usize, BLOCK, _>(|p| p * row));
        for begin in panels.clone().step_by(together) {
            let part = begin..panels.end.min(begin + together);
            let columns = self.panels[begin].start..self.panels[part.end - 1].columns().end;
            for index in part {
                let panel = &self.panels[index];
                // The first panel reads the pixels from far away; the others find them in the cache.
                let streams = (contiguous && index == panels.start).then_some(self.windows.channels);
                let shape =
                    Reduction { segments: self.windows.taps.len(), len: self.len, stride, count, streams };
                if let Some(local) = &local {
                    let tile = Panel { start: panel.start - columns.start, ..*panel };
                    self.panel(&tile, &shape, rows, local, waiting.as_mut_ptr(), &Epilogue::default());
                } else {
                    self.panel(panel, &shape, rows, out, y.as_mut_ptr(), &self.epilogue);
                }
            }
            if let Some(scatter) = self.scatter {
                let rows = waiting.chunks_exact(row);
                scatter.expand(cpu, columns, &out[..count], rows, &self.epilogue, y);
            }
        }
    }

    /// Computes one panel for all tiles of a task, chunk by chunk of the reduction.
    fn panel(
        &self,
        panel: &Panel,
        shape: &Reduction,
        rows: &[*const f32],
        out: &[usize],
        c: *mut f32,
        epilogue: &Epilogue,
    ) {
        let y_far = self.scatter.is_none() && self.windows.target_len() > FAR;
        let &Reduction { segments, len, stride, count, .. } = shape;
        let (kernel, total) = (panel.kernel, segments * len);
        // A chunk holds one or more whole segments, or a segment is divided into several chunks.
        let segments_each = (CHUNK / len).max(1);
        let len_each = if segments_each == 1 { CHUNK.min(len) } else { len };
        let at_column =
            |data: Option<&[f32]>| data.map_or(std::ptr::null(), |d| d.as_ptr().wrapping_add(panel.start));
        for first_segment in (0..segments.max(1)).step_by(segments_each) {
            for first_k in (0..len).step_by(len_each) {
                let last = first_segment + segments_each >= segments && first_k + len_each >= len;
                let step = first_segment * len + first_k;
                let (segments, len) =
                    (segments_each.min(segments - first_segment), len_each.min(len - first_k));
                let offset = panel.first_byte() + kernel.bytes_before(step);
                let b = &self.packed[offset..];
                let a = Rows {
                    rows: rows.as_ptr().wrapping_add(first_segment * stride),
                    segments,
                    len,
                    row_stride: stride,
                    a_offset: panel.a_offset + first_k,
                    a_step: 1,
                };
                let size = [count, panel.width];
                let mut tile = Tile::new(a, b, c.wrapping_add(panel.start), out, size, step > 0);
                tile.b_column = total;
                tile.far |= y_far;
                if count <= FEW {
                    // The next chunk, or the next panel, follows in memory. With many windows it is needed much later.
                    let bytes = kernel.packed_bytes(segments * len);
                    (tile.next, tile.next_row) = (b.as_ptr().wrapping_add(bytes), bytes / count);
                } else if let Some(channels) = shape.streams {
                    // The pixels of the next tile, or of the next block.
                    (tile.next, tile.next_row) =
                        (rows[0].wrapping_add(kernel.mr * channels).cast(), 4 * channels);
                }
                if last {
                    (tile.bias, tile.residual) = (at_column(epilogue.bias), at_column(epilogue.residual));
                    tile.activation = epilogue.activation;
                }
                // SAFETY: the panel's kernel comes from a backend that this machine supports. Each of the
                // `segments × stride` row pointers leads to the windows' `row_len ≥ a_offset + len` floats, in
                // `source` or in `zeros`. B holds `k` rows from the panel's first byte on, packed by this kernel.
                // The `count` offsets in `out` are whole pixels of C and of the residual; each pixel, and the bias,
                // has at least `panel.start + panel.width` columns. No other task has this block and panel.
                unsafe { (kernel.run)(&tile) }
            }
        }
    }
}

/// The layout of a task's reduction.
struct Reduction {
    segments: usize,
    len: usize,
    /// The number of row pointers per segment.
    stride: usize,
    /// The number of windows in the task.
    count: usize,
    /// The length of a pixel, if the windows are pixels one after another in memory that are yet to be fetched.
    streams: Option<usize>,
}
