//! The gradient with respect to the weight: a product whose reduction runs over pixels.
//!
//! ```text
//!   dw[o, tap·C + c] = Σ_p dy[p, o] · x[p @ tap, c]
//!
//!   for chunk of the pixels (at most 16, fixed by the shape), group of panels    one task
//!     for block of 128 pixels
//!       for panel of up to 48 columns (tap, c)
//!         pack x: 128 × NR floats, once, into the first-level cache
//!         for tile of 8 filters                   tile kernel: A is dy, read in place with a step of O
//!           C += A · B                            C: this chunk's partial gradient
//!   sum the chunks' partial gradients in their order
//! ```
//!
//! Chunks give the threads work where the gradient is small and the image large; groups of panels do so where it
//! is the other way round. Both depend on the shape alone, so the bits do not depend on the threads.

use super::windows::{Windows, tap_offsets};
use crate::cpu::panels::{Panel, split_columns};
use crate::cpu::scratch::{Shared, Workspace, with_workspace};
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::tile::{MAX_MR, MAX_NR, Tile};
use crate::cpu::{Cpu, depthwise};
use crate::params::Activation;
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

/// Pixels whose panel of x (24 KiB) stays in the first-level cache while all filters use it.
const BLOCK: usize = 128;
/// Most partial gradients, and the fewest pixels that are worth one.
const MAX_CHUNKS: usize = 16;
const MIN_CHUNK: usize = 8 * BLOCK;
/// Tasks to aim at.
const TASKS: usize = 16;

/// Gradient with respect to the weight: `x` `[N, H, W, C]`, `dy` `[N, OH, OW, O]` → `dw` `[O, KH, KW, C/G]`.
pub fn conv2d_weight_grad(cpu: &Cpu, g: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    assert_eq!(
        (x.len(), dy.len(), dw.len()),
        (g.x_len(), g.y_len(), g.w_len()),
        "slices have their shapes' lengths"
    );
    if depthwise::applies(g) {
        return depthwise::weight_grad(cpu, g, x, dy, dw);
    }
    let taps = tap_offsets(g);
    let windows = Windows::forward(g, &taps);
    let columns = g.w_len() / g.o;
    let panels = split_columns(cpu.backend, columns, BLOCK, 0);
    let pixels = windows.count();
    let chunks = pixels.div_ceil(MIN_CHUNK).min(MAX_CHUNKS);
    let chunk = pixels.div_ceil(chunks).next_multiple_of(BLOCK);
    let chunks = pixels.div_ceil(chunk);
    let panels_each = panels.len().div_ceil(TASKS.div_ceil(chunks * g.groups));
    let pieces = panels.len().div_ceil(panels_each);

    let zeros = cpu.zeros(g.c);
    let mut scratch = cpu.scratch(if chunks > 1 { chunks * g.w_len() } else { 0 });
    let partial = Shared::new(if chunks > 1 { &mut scratch } else { &mut *dw });
    let product = WeightGrad { g, windows, x, dy, zeros: &zeros, panels: &panels, columns };
    cpu.run(|| {
        (0..chunks * g.groups * pieces).into_par_iter().with_max_len(1).for_each(|task| {
            let (at, piece, group) = (task / (pieces * g.groups), task / g.groups % pieces, task % g.groups);
            let range = at * chunk..((at + 1) * chunk).min(pixels);
            let panels = piece * panels_each..((piece + 1) * panels_each).min(panels.len());
            let c = partial.as_mut_ptr().wrapping_add(at * g.w_len());
            with_workspace(|workspace| product.task(cpu, range, panels, group, c, workspace));
        });
    });
    if chunks > 1 {
        sum_chunks(cpu, &scratch, dw);
    }
}

/// `out[i] = Σ_chunk partial[chunk][i]`, in the order of the chunks.
pub(in crate::cpu) fn sum_chunks(cpu: &Cpu, partial: &[f32], out: &mut [f32]) {
    const PIECE: usize = 4096;
    let len = out.len();
    cpu.run(|| {
        out.par_chunks_mut(PIECE).enumerate().for_each(|(piece, out)| {
            let range = piece * PIECE..piece * PIECE + out.len();
            out.copy_from_slice(&partial[range.clone()]);
            for chunk in partial.chunks_exact(len).skip(1) {
                cpu.dispatch(AddAssign { to: out, from: &chunk[range.clone()] });
            }
        });
    });
}

/// `to += from`.
struct AddAssign<'a> {
    to: &'a mut [f32],
    from: &'a [f32],
}

impl Kernel for AddAssign<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (to, from) in self.to.chunks_mut(S::LANES).zip(self.from.chunks(S::LANES)) {
            s.put(to, s.add(s.get(to), s.get(from)));
        }
    }
}

struct WeightGrad<'a> {
    g: &'a Conv2d,
    windows: Windows<'a>,
    x: &'a [f32],
    dy: &'a [f32],
    zeros: &'a [f32],
    panels: &'a [Panel],
    /// Columns of the gradient: taps × C/G.
    columns: usize,
}

impl WeightGrad<'_> {
    /// Overwrites the columns of `panels` of one group in the partial gradient `c` with the sum over `pixels`.
    fn task(
        &self,
        cpu: &Cpu,
        pixels: Range<usize>,
        panels: Range<usize>,
        group: usize,
        c: *mut f32,
        workspace: &mut Workspace,
    ) {
        let channels = self.g.c / self.g.groups;
        let panels = &self.panels[panels];
        // Only the taps that these columns touch.
        let last = panels[panels.len() - 1];
        let (first_tap, end_tap) = (panels[0].start / channels, (last.start + last.width).div_ceil(channels));
        let windows = Windows { taps: &self.windows.taps[first_tap..end_tap], ..self.windows };
        let Workspace { rows, floats, .. } = workspace;
        let packed = Workspace::floats(floats, BLOCK * MAX_NR);
        for first in pixels.clone().step_by(BLOCK) {
            let count = BLOCK.min(pixels.end - first);
            windows.rows(self.x.as_ptr(), self.zeros.as_ptr(), first, count, BLOCK, rows);
            for panel in panels {
                let start = panel.start - first_tap * channels;
                cpu.dispatch(PackWindows { rows, start, channels, group, count, panel, packed });
                self.panel(panel, group, first, count, first > pixels.start, packed, c);
            }
        }
    }

    /// Adds the contribution of `count` pixels to the columns of one panel, for all filters of the group.
    fn panel(
        &self,
        panel: &Panel,
        group: usize,
        first: usize,
        count: usize,
        accumulate: bool,
        packed: &[f32],
        c: *mut f32,
    ) {
        let (kernel, filters) = (panel.kernel, self.g.o / self.g.groups);
        let dy = &self.dy[first * self.g.o..];
        for filter in (0..filters).step_by(kernel.mr) {
            let m = kernel.mr.min(filters - filter);
            let filter = group * filters + filter;
            // Rows that do not exist repeat the last one; they are not stored.
            let rows: [*const f32; MAX_MR] = std::array::from_fn(|i| dy[filter + i.min(m - 1)..].as_ptr());
            let out: [usize; MAX_MR] = std::array::from_fn(|i| (filter + i) * self.columns);
            let tile = Tile {
                segments: 1,
                len: count,
                rows: rows.as_ptr(),
                row_stride: MAX_MR,
                a_offset: 0,
                a_step: self.g.o,
                b: packed.as_ptr(),
                c: c.wrapping_add(panel.start),
                out: out.as_ptr(),
                m,
                n: panel.width,
                accumulate,
                bias: std::ptr::null(),
                residual: std::ptr::null(),
                activation: Activation::None,
            };
            // SAFETY: the kernel comes from a backend that this machine has. Row `i` steps through `count` pixels
            // of `dy` from `first`, of which there are so many; B holds `count` rows of `nr` floats; rows
            // `filter .. filter + m` and these columns of the partial gradient belong to this task.
            unsafe { (kernel.run)(&tile) }
        }
    }
}

/// Packs `count` pixels of a panel's columns, counted from the first tap in `rows`: runs of channels of one tap.
struct PackWindows<'a> {
    rows: &'a [*const f32],
    start: usize,
    channels: usize,
    group: usize,
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
            let (tap, channel) =
                ((self.start + column) / self.channels, (self.start + column) % self.channels);
            let run = (self.channels - channel).min(width - column);
            let rows = &self.rows[tap * BLOCK..][..self.count];
            for (row, to) in rows.iter().zip(packed.chunks_exact_mut(nr)) {
                // SAFETY: a row is a pixel of x or of zeros: `groups · channels` floats, and the run lies inside
                // those of the group.
                let from = unsafe {
                    let start = row.add(self.group * self.channels + channel);
                    std::slice::from_raw_parts(start, run)
                };
                for (to, from) in to[column..column + run].chunks_mut(S::LANES).zip(from.chunks(S::LANES)) {
                    s.put(to, s.get(from));
                }
            }
            column += run;
        }
    }
}
