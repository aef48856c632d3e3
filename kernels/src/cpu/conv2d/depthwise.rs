//! Depthwise convolution. Each channel has one filter, so channels share nothing and there is no matrix product.
//! Vectors run along the channels, which are contiguous:
//!
//! ```text
//!   for pixel (4 at a time, so that a weight vector is loaded once for four)
//!     for vector of channels
//!       for tap      acc += x[pixel @ tap, c..] · w[tap, c..]
//! ```
//!
//! Weights are packed as `[KH·KW, C]`. The input gradient is the same kernel over `dy` (see `conv2d::input_grad`).

use crate::cpu::Cpu;
use crate::cpu::conv2d::{Epilogue, Windows, sum_chunks, tap_offsets};
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::simd::activate::activate;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// The number of pixels per task.
const BLOCK: usize = 64;
/// The number of pixels that share one load of a weight vector.
const PIXELS: usize = 4;

/// Whether a convolution takes this path, because each channel has exactly one filter.
pub(in crate::cpu) fn applies(g: &Conv2d) -> bool {
    g.is_depthwise() && g.o == g.c
}

/// Packs `w` `[C, KH, KW, 1]` as `[KH·KW, C]`.
pub(in crate::cpu) fn pack(g: &Conv2d, w: &[f32], packed: &mut [f32]) {
    let taps: Vec<usize> = (0..g.kh * g.kw).collect();
    pack_taps(g, w, &taps, packed);
}

/// Packs only the listed taps.
pub(in crate::cpu) fn pack_taps(g: &Conv2d, w: &[f32], taps: &[usize], packed: &mut [f32]) {
    for (row, &tap) in packed.chunks_exact_mut(g.c).zip(taps) {
        for (value, filter) in row.iter_mut().zip(w.chunks_exact(g.kh * g.kw)) {
            *value = filter[tap];
        }
    }
}

/// Computes `y[target, c] = activation(Σ_tap x[window @ tap, c] · w[tap, c] + bias + residual)` for every window.
/// `w` is packed; `zeros` is a row of zeros with the windows' row length.
pub(in crate::cpu) fn run(
    cpu: &Cpu,
    windows: &Windows,
    x: &[f32],
    zeros: &[f32],
    w: &[f32],
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    assert!(windows.channels <= windows.row_len, "a row has all channels");
    let count = windows.count();
    let y = Shared::new(y);
    cpu.run(|| {
        cpu.divide((0..count.div_ceil(BLOCK)).into_par_iter()).for_each(|block| {
            let first = block * BLOCK;
            cpu.with_workspace(|Workspace { rows, out, .. }| {
                let count = BLOCK.min(count - first);
                windows.rows(x, zeros, first, count, BLOCK, rows);
                windows.targets(first, count, out);
                cpu.dispatch(Forward { channels: windows.channels, rows, out, w, epilogue, y });
            });
        });
    });
}

/// The forward kernel over a block of windows.
struct Forward<'a> {
    channels: usize,
    /// `rows[tap * BLOCK + p]` points to a pixel of `channels` floats.
    rows: &'a [*const f32],
    /// The offset of each window's pixel in y.
    out: &'a [usize],
    w: &'a [f32],
    epilogue: &'a Epilogue<'a>,
    y: Shared<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (part, out) in self.out.chunks(PIXELS).enumerate() {
            for c in (0..self.channels).step_by(S::LANES) {
                let lanes = S::LANES.min(self.channels - c);
                let mut sums = [s.zero(); PIXELS];
                // The table is padded to BLOCK entries, so the last pixels may point to zeros.
                for (rows, w) in self.rows.chunks_exact(BLOCK).zip(self.w.chunks_exact(self.channels)) {
                    let w = s.get(&w[c..c + lanes]);
                    let rows = &rows[part * PIXELS..][..PIXELS];
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        // SAFETY: a row has `channels ≥ c + lanes` floats.
                        let x = unsafe { std::slice::from_raw_parts(row.add(c), lanes) };
                        *sum = s.fma(s.get(x), w, *sum);
                    }
                }
                for (&pixel, &sum) in out.iter().zip(&sums) {
                    let at = pixel + c;
                    let mut v = sum;
                    if let Some(bias) = self.epilogue.bias {
                        v = s.add(v, s.get(&bias[c..c + lanes]));
                    }
                    if let Some(residual) = self.epilogue.residual {
                        v = s.add(v, s.get(&residual[at..at + lanes]));
                    }
                    // SAFETY: each window has its own pixel, and each task its own windows.
                    let y = unsafe { self.y.range(at, lanes) };
                    s.put(y, activate(s, self.epilogue.activation, v));
                }
            }
        }
    }
}

/// Computes `dw[c, tap] = Σ_p dy[p, c] · x[p @ tap, c]` in at most sixteen chunks of pixels, which are summed in order.
pub(in crate::cpu) fn weight_grad(cpu: &Cpu, g: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    const CHUNKS: usize = 16;
    let offsets = tap_offsets(g);
    let windows = Windows::forward(g, &offsets);
    let pixels = windows.count();
    let chunk = pixels.div_ceil(CHUNKS).next_multiple_of(BLOCK);
    let zeros = cpu.zeros(windows.row_len);
    let mut partial = cpu.scratch(pixels.div_ceil(chunk) * g.w_len());
    let mut summed = cpu.scratch(g.w_len());
    cpu.run(|| {
        partial.par_chunks_exact_mut(g.w_len()).enumerate().for_each(|(at, sums)| {
            sums.fill(0.0);
            cpu.with_workspace(|Workspace { rows, .. }| {
                for first in (at * chunk..((at + 1) * chunk).min(pixels)).step_by(BLOCK) {
                    let count = BLOCK.min(pixels - first);
                    windows.rows(x, &zeros, first, count, BLOCK, rows);
                    let dy = &dy[first * g.c..(first + count) * g.c];
                    cpu.dispatch(WeightGrad { channels: g.c, rows, dy, sums });
                }
            });
        });
    });
    sum_chunks(cpu, &partial, &mut summed);
    for (c, filter) in dw.chunks_exact_mut(g.kh * g.kw).enumerate() {
        for (tap, value) in filter.iter_mut().enumerate() {
            *value = summed[tap * g.c + c];
        }
    }
}

/// Adds a block's products to `sums` `[KH·KW, C]`.
struct WeightGrad<'a> {
    channels: usize,
    rows: &'a [*const f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for WeightGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let taps = self.rows.chunks_exact(BLOCK).zip(self.sums.chunks_exact_mut(self.channels));
        for (rows, sums) in taps {
            for (c, sum) in sums.chunks_mut(S::LANES).enumerate() {
                let (c, lanes) = (c * S::LANES, sum.len());
                let mut v = s.get(sum);
                for (row, dy) in rows.iter().zip(self.dy.chunks_exact(self.channels)) {
                    // SAFETY: a row has `channels ≥ c + lanes` floats.
                    let x = unsafe { std::slice::from_raw_parts(row.add(c), lanes) };
                    v = s.fma(s.get(x), s.get(&dy[c..c + lanes]), v);
                }
                s.put(sum, v);
            }
        }
    }
}
