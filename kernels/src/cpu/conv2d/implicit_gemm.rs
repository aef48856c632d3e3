//! The loop nest around the tile kernel for everything that is shaped like a forward convolution.
//!
//! ```text
//!  for block of ~128 windows, group of panels          one task; its parts of y belong to it alone
//!    find A's row pointers: taps × windows              once, for all panels
//!    for panel of up to 48 filters                      packed weights stream from the second-level cache
//!      for chunk of the reduction                       as much of a panel as that cache holds
//!        for tile of 8 windows                          tile kernel: taps × channels in registers
//! ```
//!
//! Every element of y is one sum in one register, in the order taps, channels, whichever task computes it: the
//! number of threads cannot change a bit.

use super::windows::Windows;
use super::{Epilogue, Scatter};
use crate::cpu::Cpu;
use crate::cpu::panels::Panel;
use crate::cpu::scratch::{Shared, Workspace};
use crate::cpu::tile::{MAX_NR, Tile};
use crate::params::Storage;
use half::bf16;
use rayon::prelude::*;

/// Windows in a task, rounded down to whole tiles: enough that a panel that comes from memory is used often, few
/// enough that their pixels stay in the second-level cache beside it.
const BLOCK: usize = 128;

/// The fewest windows that are worth a task.
const MIN_BLOCK: usize = 32;

/// The most windows of a task that has hardly read a panel when it needs the next: these are asked for one panel ahead.
const FEW: usize = 64;

/// Steps of the reduction between two visits to C: a panel of 48 columns then takes 960 KiB, half of a
/// second-level cache of today.
const CHUNK: usize = 5120;

/// Tasks for each thread where the shape allows it, to even out their lengths.
const TASKS_PER_THREAD: usize = 4;

/// A product of windows and packed panels.
#[derive(Clone, Copy)]
pub(super) struct ImplicitGemm<'a> {
    pub windows: Windows<'a>,
    pub source: &'a [f32],
    /// A row of zeros, for taps in the padding and slots without a window.
    pub zeros: &'a [f32],
    pub panels: &'a [Panel],
    /// The panels' elements; two in the place of an f32 where they are stored as bf16.
    pub packed: &'a [f32],
    pub storage: Storage,
    /// Floats that a tap contributes to the reduction.
    pub len: usize,
    pub scatter: Option<&'a Scatter>,
    pub epilogue: Epilogue<'a>,
}

impl ImplicitGemm<'_> {
    /// Computes all of the targets of its windows.
    pub(super) fn run(&self, cpu: &Cpu, y: Shared) {
        if self.panels.is_empty() {
            // Only a scatter without live filters has no panel.
            return self.scatter.expect("a product has columns").fill_all(cpu, &self.epilogue, y);
        }
        let row_len = self.windows.row_len;
        assert!(
            self.panels.iter().all(|panel| panel.a_offset + self.len <= row_len),
            "a reduction leaves its row"
        );
        let windows = self.windows.count();
        let mr = self.panels[0].kernel.mr;
        let wanted = TASKS_PER_THREAD * cpu.thread_count();
        // Panels are divided first: a smaller block would bring each panel in more often.
        let wanted_blocks = wanted.div_ceil(self.panels.len());
        let smallest = MIN_BLOCK / mr * mr;
        let block = windows.div_ceil(wanted_blocks).next_multiple_of(mr).clamp(smallest, BLOCK / mr * mr);
        let blocks = windows.div_ceil(block);
        let groups = wanted.div_ceil(blocks).min(self.panels.len());
        let panels_each = self.panels.len().div_ceil(groups);
        let groups = self.panels.len().div_ceil(panels_each);
        cpu.run(|| {
            // Neighbouring tasks share panels: those are what is expensive to bring in.
            (0..blocks * groups).into_par_iter().with_max_len(1).for_each(|task| {
                let (group, first) = (task / blocks, task % blocks * block);
                let panels = group * panels_each..((group + 1) * panels_each).min(self.panels.len());
                cpu.with_workspace(|workspace| {
                    self.task(cpu, first, block.min(windows - first), panels, y, workspace)
                });
            });
        });
    }

    /// Where packed element `index` and those behind it are.
    fn weights(&self, index: usize) -> *const u8 {
        match self.storage {
            Storage::F32 => self.packed[index..].as_ptr().cast(),
            Storage::Bf16 => bytemuck::cast_slice::<f32, bf16>(self.packed)[index..].as_ptr().cast(),
        }
    }

    /// Bytes of a packed element.
    fn element_size(&self) -> usize {
        match self.storage {
            Storage::F32 => size_of::<f32>(),
            Storage::Bf16 => size_of::<bf16>(),
        }
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
        let scattered = Workspace::floats(floats, if self.scatter.is_some() { count * MAX_NR } else { 0 });
        self.windows.targets(first, count, out);
        self.windows.rows(self.source, self.zeros, first, count, stride, rows);
        let shape = Reduction { segments: self.windows.taps.len(), len: self.len, stride, count };
        for index in panels {
            let panel = &self.panels[index];
            match self.scatter {
                None => self.panel(panel, &shape, rows, out, y.as_mut_ptr(), &self.epilogue),
                Some(scatter) => {
                    let local: [usize; BLOCK] = std::array::from_fn(|p| p * MAX_NR);
                    let plain = Epilogue::default();
                    let tile = Panel { start: 0, ..*panel };
                    self.panel(&tile, &shape, rows, &local, scattered.as_mut_ptr(), &plain);
                    let columns = panel.start..panel.start + panel.width;
                    scatter.expand(cpu, columns, &out[..count], scattered, MAX_NR, &self.epilogue, y);
                }
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
        let &Reduction { segments, len, stride, count } = shape;
        let kernel = panel.kernel;
        let run = match self.storage {
            Storage::F32 => kernel.run,
            Storage::Bf16 => kernel.run_bf16,
        };
        // Either several segments make a chunk, or several chunks a segment.
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
                let b = self.weights(panel.offset + step * kernel.nr);
                let bytes = segments * len * kernel.nr * self.element_size();
                for p in (0..count).step_by(kernel.mr) {
                    let tile = Tile {
                        segments,
                        len,
                        rows: rows.as_ptr().wrapping_add(first_segment * stride + p),
                        row_stride: stride,
                        a_offset: panel.a_offset + first_k,
                        a_step: 1,
                        b,
                        // What follows in memory is the next chunk, or the next panel.
                        next: if count <= FEW { b.wrapping_add(bytes + bytes * p / count) } else { b },
                        c: c.wrapping_add(panel.start),
                        out: out[p..].as_ptr(),
                        m: kernel.mr.min(count - p),
                        n: panel.width,
                        accumulate: step > 0,
                        bias: if last { at_column(epilogue.bias) } else { std::ptr::null() },
                        residual: if last { at_column(epilogue.residual) } else { std::ptr::null() },
                        activation: if last { epilogue.activation } else { Default::default() },
                    };
                    // SAFETY: the panel's kernel comes from a backend that this machine has. Each of the
                    // `segments × stride` row pointers leads to the windows' `row_len ≥ a_offset + len` floats, of `source`
                    // or of `zeros`. B holds `k · nr` elements from `panel.offset`, of the type of `run`. Offsets in
                    // `out` are whole pixels of C and of the residual, `panel.start + panel.width` columns
                    // exist in each and in the bias; no other task has this block and panel.
                    unsafe { run(&tile) }
                }
            }
        }
    }
}

/// How a task's reduction is stored.
struct Reduction {
    segments: usize,
    len: usize,
    /// Row pointers of a segment.
    stride: usize,
    /// Windows of the task.
    count: usize,
}
