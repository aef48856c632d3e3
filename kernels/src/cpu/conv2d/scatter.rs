//! Scatters the results of live filters to their columns in an output of full width. Dead filters get a constant.
//!
//! ```text
//!   computed   a b c d e                          for pixel, vector of output columns
//!   live       01001101 00000010                    expand as many computed values as there are bits
//!   y          ·a··bc·d ······e·                    + bias; constants elsewhere; + residual; activation; store
//! ```
//!
//! Every column is written once, in whole vectors, by the pass that has the computed values in its cache.

use super::Epilogue;
use super::winograd::{LineShape, line_refuses, refuses};
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::simd::activate::Ending;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::params::Activation;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;
use std::slice::ChunksExact;

/// The mapping from the columns of a product to their places in rows of `width` floats.
pub(super) struct Scatter {
    /// The output column of each computed column, ascending.
    outputs: Vec<u32>,
    /// One bit per output column, set if it is computed, in whole vectors of the widest instruction set.
    live: Vec<u8>,
    /// The values of columns that are not computed, `[width]`.
    fill: Option<Vec<f32>>,
    width: usize,
}

impl Scatter {
    /// Creates a scatter, or returns `None` if every column is computed, so that each is already in its place.
    /// `outputs` are ascending and below `width`. The other columns get `fill` or, without a fill, the bias or zero.
    pub(super) fn new(outputs: &[u32], fill: Option<&[f32]>, width: usize) -> Option<Self> {
        assert!(outputs.is_sorted_by(|a, b| a < b), "live outputs are listed in ascending order");
        assert!(outputs.last().is_none_or(|&o| (o as usize) < width), "live outputs lie inside the width");
        assert!(fill.is_none_or(|fill| fill.len() == width), "the fill has one value per output");
        let live = || bits(outputs, width);
        let scatter =
            || Self { outputs: outputs.to_vec(), live: live(), fill: fill.map(<[f32]>::to_vec), width };
        (outputs.len() < width).then(scatter)
    }

    /// The number of floats per output pixel.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Writes the output columns that belong to the computed columns `columns`. The range starts at the output column
    /// of the first one (at 0 if it is the first computed column overall) and ends before the next computed column (at
    /// the width if there is none). `computed` are rows, one per pixel offset in `pixels`.
    pub(super) fn expand(
        &self,
        cpu: &Cpu,
        columns: Range<usize>,
        pixels: &[usize],
        computed: ChunksExact<f32>,
        epilogue: &Epilogue,
        y: Shared,
    ) {
        let start = if columns.start == 0 { 0 } else { self.outputs[columns.start] as usize };
        let end = self.outputs.get(columns.end).map_or(self.width, |&column| column as usize);
        cpu.dispatch(Expand { scatter: self, columns: start..end, pixels, computed, epilogue, y });
    }

    /// Writes the rows of `y` from `computed`, which has the computed columns of each.
    pub(super) fn rows(&self, cpu: &Cpu, computed: &[f32], y: &mut [f32]) {
        const ROWS: usize = 256;
        let live = self.outputs.len();
        cpu.run(|| {
            let parts = y.par_chunks_mut(ROWS * self.width).zip(computed.par_chunks(ROWS * live));
            cpu.divide(parts).for_each(|(y, computed)| {
                let pixels: [usize; ROWS] = std::array::from_fn(|row| row * self.width);
                let computed = computed.chunks_exact(live);
                self.expand(cpu, 0..live, &pixels, computed, &Epilogue::default(), Shared::new(y));
            });
        });
    }

    /// Writes the values of the output columns `columns` as if none were computed.
    fn put_constants(&self, columns: Range<usize>, epilogue: &Epilogue, out: &mut [f32]) {
        match (&self.fill, epilogue.bias) {
            (Some(fill), _) => out.copy_from_slice(&fill[columns]),
            // A sum of zeros is 0.0, which turns a bias of -0.0 into 0.0.
            (None, Some(bias)) => {
                out.iter_mut().zip(&bias[columns]).for_each(|(out, bias)| *out = 0.0 + bias);
            }
            (None, None) => out.fill(0.0),
        }
    }

    /// Writes the output if no filter is live.
    pub(super) fn fill_all(&self, cpu: &Cpu, epilogue: &Epilogue, y: Shared) {
        // SAFETY: the caller writes nothing else, and the rows are divided among the threads below.
        let y = unsafe { y.all() };
        cpu.run(|| {
            cpu.divide(y.par_chunks_mut(self.width).enumerate()).for_each(|(row, out)| {
                self.put_constants(0..self.width, epilogue, out);
                let residual = epilogue.residual.map(|r| &r[row * self.width..][..self.width]);
                cpu.dispatch(Finish { residual, activation: epilogue.activation, out });
            });
        });
    }
}

/// The time of scattering a vector of outputs, in steps of a reduction; and with eight lanes, whose steps are shorter: measured
/// on nine layers with 1/2, 1/4 and 1/8 of the filters live. With AVX-512, it is 10 on one processor and 20 on another; the
/// longer time counts, because a mask must not make a layer slower.
const SCATTER: [usize; 2] = [20, 25];

/// Whether leaving out the dead filters of `pattern` saves more than scattering the others costs. It does not with a
/// short reduction, such as that of the first layer, or if the live filters fill as many vectors as all of them. The
/// dead ones are then computed, with weights of zero.
pub(super) fn pays(cpu: &Cpu, g: &Conv2d, pattern: &Pattern) -> bool {
    // A strict device multiplies no zeros in the place of dead filters.
    if pattern.filters().is_empty() || cpu.is_strict() {
        return true;
    }
    let lanes = cpu.backend.tiles(Types::F32)[0].nr;
    let vectors = |counts: Vec<usize>| counts.iter().map(|count| count.div_ceil(lanes)).sum::<usize>();
    let all = vectors(vec![g.o / g.groups; g.groups]);
    let saved = all - vectors(pattern.filters_by_group(g.groups));
    // Winograd's F(4×4) takes 36 products for 16 pixels; along rows, its products of a tile belong to four.
    let steps = if refuses(g).is_none() {
        g.c * 36 / 16
    } else if line_refuses(g).is_none() {
        let shape = LineShape::new(g);
        shape.points() * shape.reduced() / 4
    } else {
        g.w_len() / g.o
    };
    saved * steps > all * SCATTER[usize::from(lanes <= 8)]
}

/// One bit for each of `len` channels, set for those that are listed, in whole vectors of the widest instruction set.
pub(super) fn bits(listed: &[u32], len: usize) -> Vec<u8> {
    let mut bits = vec![0; bits_len(len)];
    listed.iter().for_each(|&channel| bits[channel as usize / 8] |= 1 << (channel % 8));
    bits
}

/// The number of bytes of [`bits`].
pub(super) fn bits_len(len: usize) -> usize {
    len.div_ceil(MAX_LANES) * MAX_LANES / 8
}

/// The number of pixels that share the mask of a vector: their output lines stay in the L1 cache.
const PIXELS: usize = 8;

/// Writes the output columns `columns` of some pixels. The first computed value of a row belongs to the first live
/// column of the range.
struct Expand<'a> {
    scatter: &'a Scatter,
    columns: Range<usize>,
    pixels: &'a [usize],
    computed: ChunksExact<'a, f32>,
    epilogue: &'a Epilogue<'a>,
    y: Shared<'a>,
}

impl Kernel for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { scatter: Scatter { live, fill, .. }, columns: Range { start, end }, epilogue, y, .. } =
            self;
        let (ending, mut computed) = (Ending::new(epilogue.activation), self.computed);
        for pixels in self.pixels.chunks(PIXELS) {
            let (mut column, mut next) = (start, 0);
            while column < end {
                // The first vector of the range may begin in the middle of a vector of bits.
                let skipped = column % S::LANES;
                let to = end.min(column - skipped + S::LANES);
                let mask = s.mask(live, column / S::LANES) >> skipped & ((1 << (to - column)) - 1);
                let bias = epilogue.bias.map(|bias| &bias[column..to]);
                let fill = fill.as_ref().map(|fill| &fill[column..to]);
                for (&pixel, row) in pixels.iter().zip(computed.clone()) {
                    let mut v = s.expand(s.get(&row[next..]), mask);
                    // Without a fill, the others are their bias. A sum of zeros is 0.0, which turns a bias of -0.0 into
                    // 0.0.
                    if let Some(bias) = bias {
                        v = s.add(v, s.get(bias));
                    }
                    if let Some(fill) = fill {
                        v = s.select(mask, v, s.get(fill));
                    }
                    if let Some(residual) = epilogue.residual {
                        v = s.add(v, s.get(&residual[pixel + column..pixel + to]));
                    }
                    // SAFETY: only this task writes these columns of this pixel.
                    let out = unsafe { y.range(pixel + column, to - column) };
                    s.put(out, ending.in_registers(s, v));
                }
                next += mask.count_ones() as usize;
                column = to;
            }
            if ending.is_left() {
                for &pixel in pixels {
                    // SAFETY: as above.
                    ending.in_place(s, unsafe { y.range(pixel + start, end - start) });
                }
            }
            // The rows of these pixels.
            computed.nth(pixels.len() - 1);
        }
    }
}

/// Computes `out = activation(out + residual)`.
struct Finish<'a> {
    residual: Option<&'a [f32]>,
    activation: Activation,
    out: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ending = Ending::new(self.activation);
        for (i, out) in self.out.chunks_mut(S::LANES).enumerate() {
            let mut v = s.get(out);
            if let Some(residual) = self.residual {
                v = s.add(v, s.get(&residual[i * S::LANES..]));
            }
            s.put(out, ending.in_registers(s, v));
        }
        ending.in_place(s, self.out);
    }
}
