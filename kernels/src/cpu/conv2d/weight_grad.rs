//! The gradient with respect to the weight: a product whose reduction runs over pixels.
//!
//! ```text
//!   dw[o, tap·C + c] = Σ_p dy[p, o] · x[p @ tap, c]
//!
//!   for chunk of the pixels (at most 16, fixed by the shape), group of panels    one task
//!     for block of 256 pixels
//!       pack dy: filters / 8 strips of 256 × 8    second-level cache
//!       for panel of up to 48 columns (tap, c)
//!         pack x: 256 × NR                        first- to second-level cache
//!         for tile of 8 filters                   tile kernel: A is a strip of dy
//!           C += A · B                            C: this chunk's partial gradient
//!   sum the chunks' partial gradients in their order
//! ```
//!
//! Chunks give the threads work where the gradient is small and the image large; groups of panels do so where it
//! is the other way round. Both depend on the shape alone, so the bits do not depend on the threads.

use super::windows::{Windows, gathers, tap_offsets};
use super::winograd;
use crate::cpu::panels::{Panel, split_columns};
use crate::cpu::scratch::{Shared, Workspace, with_workspace};
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::tile::{MAX_MR, MAX_NR, Tile};
use crate::cpu::{Cpu, depthwise};
use crate::params::Activation;
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

/// Pixels between two visits to C. A panel of x then takes 48 KiB, a strip of dy 8 KiB.
const BLOCK: usize = 256;
/// Pixels between the starts of two strips: a power of two would map them all to the same cache set.
const STRIP: usize = BLOCK + 2;
/// Most partial gradients, and the fewest pixels that are worth one.
const MAX_CHUNKS: usize = 16;
const MIN_CHUNK: usize = 4096;
/// Tasks to aim at. Each packs dy for itself.
const TASKS: usize = 8;

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
    if winograd::weight_grad_pays(g) {
        return winograd::weight_grad(cpu, g, x, dy, dw);
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
        let panels = &self.panels[panels];
        let last = panels[panels.len() - 1];
        // A gathered window is one tap of all its columns; otherwise only the taps of these columns matter.
        let gather = gathers(self.g);
        let channels = if gather { self.columns } else { self.g.c / self.g.groups };
        let (first_tap, end_tap) = (panels[0].start / channels, (last.start + last.width).div_ceil(channels));
        let taps = if gather { self.windows.taps } else { &self.windows.taps[first_tap..end_tap] };
        let windows = Windows { taps, ..self.windows };
        let mr = last.kernel.mr;
        let filters = self.g.o / self.g.groups;
        let Workspace { rows, floats, .. } = workspace;
        let strips = (filters.next_multiple_of(mr) * STRIP).next_multiple_of(16);
        let gathered = if gather { BLOCK * self.columns } else { 0 };
        let floats = Workspace::floats(floats, strips + BLOCK * MAX_NR + gathered);
        let (dy, floats) = floats.split_at_mut(strips);
        let (packed, gathered) = floats.split_at_mut(BLOCK * MAX_NR);
        for first in pixels.clone().step_by(BLOCK) {
            let count = BLOCK.min(pixels.end - first);
            if gather {
                windows.gather(self.g.kw, self.x, first, count, self.columns, gathered);
                rows.clear();
                rows.extend(gathered.chunks_exact(self.columns).map(<[f32]>::as_ptr));
            } else {
                windows.rows(self.x.as_ptr(), self.zeros.as_ptr(), first, count, BLOCK, rows);
            }
            self.pack_strips(mr, group * filters..(group + 1) * filters, first, count, dy);
            for panel in panels {
                let start = panel.start - first_tap * channels;
                cpu.dispatch(PackWindows { rows, start, channels, group, count, panel, packed });
                self.panel(panel, group, count, first > pixels.start, dy, packed, c);
            }
        }
    }

    /// Packs `count` pixels of dy into strips of `mr` filters: read from dy itself, each step of a tile would
    /// touch another page. Filters that do not exist become zeros.
    fn pack_strips(&self, mr: usize, filters: Range<usize>, first: usize, count: usize, strips: &mut [f32]) {
        let pixels = self.dy[first * self.g.o..].chunks_exact(self.g.o).take(count);
        let pixels = pixels.map(|pixel| &pixel[filters.clone()]);
        match mr {
            8 => pack_strips::<8>(pixels, strips),
            6 => pack_strips::<6>(pixels, strips),
            4 => pack_strips::<4>(pixels, strips),
            _ => unreachable!("tiles have 4, 6 or 8 rows"),
        }
    }

    /// Adds the contribution of `count` packed pixels to the columns of one panel, for all filters of the group.
    fn panel(
        &self,
        panel: &Panel,
        group: usize,
        count: usize,
        accumulate: bool,
        dy: &[f32],
        packed: &[f32],
        c: *mut f32,
    ) {
        let (kernel, filters) = (panel.kernel, self.g.o / self.g.groups);
        for (strip, filter) in (0..filters).step_by(kernel.mr).enumerate() {
            let strip = &dy[strip * STRIP * kernel.mr..][..count * kernel.mr];
            let rows: [*const f32; MAX_MR] = std::array::from_fn(|i| strip.as_ptr().wrapping_add(i));
            let out: [usize; MAX_MR] = std::array::from_fn(|i| (group * filters + filter + i) * self.columns);
            let tile = Tile {
                segments: 1,
                len: count,
                rows: rows.as_ptr(),
                row_stride: MAX_MR,
                a_offset: 0,
                a_step: kernel.mr,
                b: packed.as_ptr().cast(),
                c: c.wrapping_add(panel.start),
                out: out.as_ptr(),
                m: kernel.mr.min(filters - filter),
                n: panel.width,
                accumulate,
                bias: std::ptr::null(),
                residual: std::ptr::null(),
                activation: Activation::None,
            };
            // SAFETY: the kernel comes from a backend that this machine has. A strip holds `count` steps of `mr`
            // filters, B `count` rows of `nr` floats; rows `filter .. filter + m` and these columns of the
            // partial gradient belong to this task.
            unsafe { (kernel.run)(&tile) }
        }
    }
}

/// `strips[strip][p][0..MR]`, each strip of STRIP pixels.
fn pack_strips<'a, const MR: usize>(pixels: impl Iterator<Item = &'a [f32]>, strips: &mut [f32]) {
    for (p, pixel) in pixels.enumerate() {
        let (whole, rest) = pixel.as_chunks::<MR>();
        for (strip, values) in strips.chunks_exact_mut(STRIP * MR).zip(whole) {
            strip[p * MR..][..MR].copy_from_slice(values);
        }
        if !rest.is_empty() {
            let mut values = [0.0; MR];
            values[..rest.len()].copy_from_slice(rest);
            strips[whole.len() * STRIP * MR + p * MR..][..MR].copy_from_slice(&values);
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
            let channel = self.group * self.channels + channel;
            let to = &mut packed[column..];
            // SAFETY: a row is a pixel of x or of zeros, or a gathered window: `groups · channels` floats, and the
            // run lies inside those of the group. A row of `packed` has `nr ≥ column + run` floats.
            unsafe {
                match (run / S::LANES, run % S::LANES) {
                    (1, 0) => copy_rows::<S, 1>(s, rows, channel, to, nr),
                    (2, 0) => copy_rows::<S, 2>(s, rows, channel, to, nr),
                    (3, 0) => copy_rows::<S, 3>(s, rows, channel, to, nr),
                    _ => {
                        for (row, to) in rows.iter().zip(to.chunks_mut(nr)) {
                            let from = std::slice::from_raw_parts(row.add(channel), run);
                            for (to, from) in to[..run].chunks_mut(S::LANES).zip(from.chunks(S::LANES)) {
                                s.put(to, s.get(from));
                            }
                        }
                    }
                }
            }
            column += run;
        }
    }
}

/// Copies `VECTORS` vectors from `rows[p] + channel` to row `p` of `to`, which are `nr` floats apart.
///
/// # Safety
/// Each row has that many floats from `channel` on.
#[inline(always)]
unsafe fn copy_rows<S: Simd, const VECTORS: usize>(
    s: S,
    rows: &[*const f32],
    channel: usize,
    to: &mut [f32],
    nr: usize,
) {
    assert!(rows.is_empty() || to.len() >= (rows.len() - 1) * nr + VECTORS * S::LANES);
    for (p, row) in rows.iter().enumerate() {
        for v in 0..VECTORS {
            // SAFETY: the caller's promise about the row; the assertion covers the last row of `to`.
            unsafe {
                let from = s.load(row.add(channel + v * S::LANES));
                s.store(to.as_mut_ptr().add(p * nr + v * S::LANES), from);
            }
        }
    }
}
