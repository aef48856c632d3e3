//! Depthwise 3×3, 5×5 and 7×7 convolution of channels-last images, row by row.
//!
//! ```text
//!   for row of the output                      a task has some of them
//!     for four pixels                          find the pixels that they read: rows of the kernel × columns
//!       for vector of channels                 four sums, which do not wait for each other
//!         for row of the kernel                load its columns once for all outputs that read them
//!           for column of the kernel           load a weight once for four outputs
//!
//!              x x x x x x                     3×3 with stride 1: six columns for four outputs
//!              └─┬─┘                           y += x · w          tap by tap, in the order of [`super::depthwise`],
//!                y y y y                                           so the bits are the same
//! ```
//!
//! Four outputs of a 3×3 kernel take 27 loads for 36 multiply-adds. The sums, the columns and a weight fit in the 16
//! registers of AVX2; nine weights would not. The inner loop runs through the channels, which are contiguous, without a
//! branch. Inside the image, pixels are at equal distances. At the ends of a row they are found through a table of pointers,
//! as those in the padding lead to zeros; filling one takes longer than the sums of a few channels.

use super::{Epilogue, depthwise};
use crate::cpu::Cpu;
use crate::cpu::simd::activate::Ending;
use crate::cpu::simd::partial::{load_lanes, store_lanes};
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

/// The number of floats of a task's output.
const TASK: usize = 1 << 13;
/// The number of neighboring pixels that are computed at a time.
const PIXELS: usize = 4;
/// The most columns that they read: those of a 5×5 kernel with stride 2.
const COLUMNS: usize = 11;

/// Whether a depthwise convolution has this kernel.
pub(super) fn applies(g: &Conv2d) -> bool {
    let size = matches!((g.kh, g.stride[1]), (3 | 5, 1 | 2) | (7, 1));
    size && g.kw == g.kh && g.dilation == [1; 2]
}

/// The convolution of `dy` by the weights of `g`, its taps in reverse, that is the input gradient of `g`, if this kernel
/// computes it: `dx[p] = Σ_t dy[p + pad − t] · w[t] = Σ_u dy[p − (K − 1 − pad) + u] · w[K − 1 − u]` with stride 1.
pub(super) fn backward(g: &Conv2d) -> Option<Conv2d> {
    let padding = [g.kh.checked_sub(g.padding[0] + 1)?, g.kw.checked_sub(g.padding[1] + 1)?];
    let back = Conv2d { h: g.oh(), w: g.ow(), padding, ..*g };
    (depthwise::applies(g) && applies(g) && g.stride == [1; 2] && g.extra_padding == [0; 2]).then_some(back)
}

/// The operands of a depthwise convolution, which computes `y = activation(x ∗ w + bias + residual)`.
#[derive(Clone, Copy)]
pub(super) struct DepthwiseRows<'a> {
    pub g: &'a Conv2d,
    /// Rows of the images.
    pub x: &'a [f32],
    /// The number of rows of the batch before those of `x`.
    pub first: usize,
    /// At least `C` zeros.
    pub zeros: &'a [f32],
    /// `[KH·KW, C]`.
    pub w: &'a [f32],
    pub epilogue: &'a Epilogue<'a>,
}

impl DepthwiseRows<'_> {
    /// Computes the output rows `rows`, which are counted through the batch. `x` has all rows that they read.
    pub(super) fn run(&self, cpu: &Cpu, rows: Range<usize>, y: &mut [f32]) {
        let Self { g, zeros, w, epilogue, .. } = *self;
        assert!(
            applies(g) && w.len() >= g.kh * g.kw * g.c && zeros.len() >= g.c,
            "a weight for each tap and channel"
        );
        assert!(epilogue.bias.is_none_or(|bias| bias.len() >= g.c), "the bias has one value per channel");
        let row = g.ow() * g.c;
        assert_eq!(y.len(), rows.len() * row, "the output has the length of its rows");
        assert!(
            epilogue.residual.is_none_or(|residual| residual.len() >= rows.end * row),
            "the residual has all rows"
        );
        let each = (TASK / row.max(1)).max(1);
        cpu.run(|| {
            cpu.divide(y.par_chunks_mut((each * row).max(1)).enumerate()).for_each(|(task, y)| {
                for (i, y) in y.chunks_exact_mut(row).enumerate() {
                    cpu.dispatch(Row { of: *self, index: rows.start + task * each + i, y });
                }
            });
        });
    }
}

/// A row of the output.
struct Row<'a> {
    of: DepthwiseRows<'a>,
    /// The number of the row in the batch.
    index: usize,
    /// `[OW, C]`.
    y: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (self.of.g.kh, self.of.g.stride[1]) {
            (3, 1) => self.pixels::<S, 3, 1>(s),
            (3, _) => self.pixels::<S, 3, 2>(s),
            (5, 1) => self.pixels::<S, 5, 1>(s),
            (5, _) => self.pixels::<S, 5, 2>(s),
            _ => self.pixels::<S, 7, 1>(s),
        }
    }
}

impl<'a> Row<'a> {
    /// Computes all pixels.
    #[inline(always)]
    fn pixels<S: Simd, const K: usize, const STRIDE: usize>(mut self, s: S) {
        let (width, lines) = (self.of.g.ow(), self.lines::<K>());
        let finish = Finish::new(self.of.epilogue, self.index, self.y.len());
        for first in (0..width).step_by(PIXELS) {
            let group = Group { first, count: PIXELS.min(width - first) };
            if let Some(runs) = self.runs::<K, STRIDE>(&lines, first) {
                self.group::<S, K, STRIDE>(s, &group, |row, j| runs[row].pixel(j), &finish);
            } else {
                let table = self.table::<K, STRIDE>(&lines, first);
                self.group::<S, K, STRIDE>(s, &group, |row, j| table[row][j], &finish);
            }
        }
        finish.ending.in_place(s, self.y);
    }

    /// Computes all channels of `group`, which reads `pixel(row of the kernel, column)`.
    #[inline(always)]
    fn group<S: Simd, const K: usize, const STRIDE: usize>(
        &mut self,
        s: S,
        group: &Group,
        pixel: impl Fn(usize, usize) -> *const f32,
        finish: &Finish,
    ) {
        let c = self.of.g.c;
        if c < S::LANES {
            return self.vector::<S, false, K, STRIDE>(s, group, &pixel, finish, 0);
        }
        for channel in (0..c - S::LANES).step_by(S::LANES) {
            self.vector::<S, true, K, STRIDE>(s, group, &pixel, finish, channel);
        }
        // The last vector computes some channels of the one before again instead of a part of a vector.
        self.vector::<S, true, K, STRIDE>(s, group, &pixel, finish, c - S::LANES);
    }

    /// The rows of the image that the row reads, or none in the padding.
    #[inline(always)]
    fn lines<const K: usize>(&self) -> [Option<&'a [f32]>; K] {
        let DepthwiseRows { g, x, first, .. } = self.of;
        let (image, oy) = (self.index / g.oh(), self.index % g.oh());
        std::array::from_fn(|ky| {
            let y = (oy * g.stride[0] + ky).wrapping_sub(g.padding[0]);
            (y < g.h).then(|| &x[(image * g.h + y - first) * g.w * g.c..][..g.w * g.c])
        })
    }

    /// The pixels of `lines` that the outputs from `first` on read, unless some of them are left or right of the image.
    #[inline(always)]
    fn runs<const K: usize, const STRIDE: usize>(
        &self,
        lines: &[Option<&[f32]>; K],
        first: usize,
    ) -> Option<[Run; K]> {
        let DepthwiseRows { g, zeros, .. } = self.of;
        let (begin, count) = ((first * STRIDE).checked_sub(g.padding[1])?, (PIXELS - 1) * STRIDE + K);
        let mut runs = [Run { start: zeros.as_ptr(), distance: 0 }; K];
        for (run, line) in runs.iter_mut().zip(lines) {
            let Some(line) = line else { continue };
            *run = Run { start: line.get(begin * g.c..(begin + count) * g.c)?.as_ptr(), distance: g.c };
        }
        Some(runs)
    }

    /// The pixels of `lines` that the outputs from `first` on read. A pixel has C floats.
    #[inline(always)]
    fn table<const K: usize, const STRIDE: usize>(
        &self,
        lines: &[Option<&[f32]>; K],
        first: usize,
    ) -> [[*const f32; COLUMNS]; K] {
        let DepthwiseRows { g, zeros, .. } = self.of;
        let mut table = [[zeros.as_ptr(); COLUMNS]; K];
        for (row, line) in table.iter_mut().zip(lines) {
            let Some(line) = line else { continue };
            for j in 0..(PIXELS - 1) * STRIDE + K {
                let x = (first * STRIDE + j).wrapping_sub(g.padding[1]);
                if x < g.w {
                    row[j] = line[x * g.c..].as_ptr();
                }
            }
        }
        table
    }

    /// Computes the vector from `channel` on of each output of `group`: all lanes of it if `WHOLE`, or the row's only channels.
    #[inline(always)]
    fn vector<S: Simd, const WHOLE: bool, const K: usize, const STRIDE: usize>(
        &mut self,
        s: S,
        group: &Group,
        pixel: &impl Fn(usize, usize) -> *const f32,
        finish: &Finish,
        channel: usize,
    ) {
        let DepthwiseRows { g, w, .. } = self.of;
        let lanes = if WHOLE { S::LANES } else { g.c };
        let mut sums = [s.zero(); PIXELS];
        let mut weights = w.as_ptr().wrapping_add(channel);
        for row in 0..K {
            let mut x = [s.zero(); COLUMNS];
            for j in 0..(PIXELS - 1) * STRIDE + K {
                // SAFETY: a pixel has C floats, and `channel + lanes ≤ C`.
                x[j] = unsafe { load_lanes(s, pixel(row, j).add(channel), lanes) };
            }
            for kx in 0..K {
                // SAFETY: `w` has C floats for each of the K·K taps, as `DepthwiseRows::run` asserts.
                let weight = unsafe { load_lanes(s, weights, lanes) };
                weights = weights.wrapping_add(g.c);
                for p in 0..PIXELS {
                    sums[p] = s.fma(x[p * STRIDE + kx], weight, sums[p]);
                }
            }
        }
        let at = group.first * g.c + channel;
        // SAFETY: the bias has C floats, and the row has OW pixels of C floats, as `DepthwiseRows::run` asserts; the residual
        // has them, too. `count` pixels from `first` on exist.
        unsafe {
            sums = finish.values(s, sums, channel, |p| at + p.min(group.count - 1) * g.c, lanes);
            let y = self.y.as_mut_ptr().add(at);
            for p in 0..PIXELS {
                if p < group.count {
                    store_lanes(s, y.add(p * g.c), sums[p], lanes);
                }
            }
        }
    }
}

/// What a row does with its sums.
struct Finish<'a> {
    bias: Option<&'a [f32]>,
    /// The row's part, `[OW, C]`.
    residual: Option<&'a [f32]>,
    ending: Ending,
}

impl<'a> Finish<'a> {
    fn new(epilogue: &Epilogue<'a>, index: usize, len: usize) -> Self {
        let &Epilogue { bias, residual, activation } = epilogue;
        let residual = residual.map(|residual| &residual[index * len..][..len]);
        Self { bias, residual, ending: Ending::new(activation) }
    }

    /// Computes the outputs, up to an activation that is not a clamp, from the sums of the channels from `channel` on; output
    /// `p` is at `at(p)` in the row.
    ///
    /// # Safety
    /// The bias has `lanes` floats from `channel` on, and the residual from each `at(p)` on.
    #[inline(always)]
    unsafe fn values<S: Simd>(
        &self,
        s: S,
        mut sums: [S::F; PIXELS],
        channel: usize,
        at: impl Fn(usize) -> usize,
        lanes: usize,
    ) -> [S::F; PIXELS] {
        if let Some(bias) = self.bias {
            // SAFETY: guaranteed by the caller.
            let bias = unsafe { load_lanes(s, bias.as_ptr().add(channel), lanes) };
            for p in 0..PIXELS {
                sums[p] = s.add(sums[p], bias);
            }
        }
        if let Some(residual) = self.residual {
            for p in 0..PIXELS {
                // SAFETY: guaranteed by the caller.
                sums[p] = s.add(sums[p], unsafe { load_lanes(s, residual.as_ptr().add(at(p)), lanes) });
            }
        }
        for p in 0..PIXELS {
            sums[p] = self.ending.in_registers(s, sums[p]);
        }
        sums
    }
}

/// [`PIXELS`] neighboring outputs.
struct Group {
    /// The first one.
    first: usize,
    /// How many of them exist. The others are computed from pixels that may be any, and not stored.
    count: usize,
}

/// Pixels at equal distances: neighbors, or the same zeros again and again.
#[derive(Clone, Copy)]
struct Run {
    start: *const f32,
    distance: usize,
}

impl Run {
    #[inline(always)]
    fn pixel(&self, j: usize) -> *const f32 {
        self.start.wrapping_add(j * self.distance)
    }
}
