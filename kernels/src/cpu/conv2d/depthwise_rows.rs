//! Depthwise 3×3 convolution of channels-last images, row by row.
//!
//! ```text
//!   for row of the output                      a task has some of them
//!     for vector of channels                   the nine weights stay in registers
//!       for pixel                              a column of three pixels is loaded once for all outputs that read it
//!
//!             left mid right                   with stride 1, mid and right are the next pixel's left and mid
//!         ┌──┬──┬──┬──┐
//!         │  │  │  │→ │
//!         │  │  │  │→ │    y += x · w          tap by tap, in the order of [`super::depthwise`], so the bits are the same
//!         │  │  │  │→ │
//!         └──┴──┴──┴──┘
//! ```
//!
//! An output takes three or six loads instead of nine, and no table of pointers. The sums of neighboring pixels do not
//! depend on each other, so the processor overlaps them.

use super::Epilogue;
use crate::cpu::Cpu;
use crate::cpu::simd::activate::activate;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

/// The number of floats of a task's output.
const TASK: usize = 1 << 13;

/// Whether a depthwise convolution has this kernel.
pub(super) fn applies(g: &Conv2d) -> bool {
    [g.kh, g.kw] == [3; 2] && g.dilation == [1; 2] && matches!(g.stride[1], 1 | 2)
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
    /// `[9, C]`.
    pub w: &'a [f32],
    pub epilogue: &'a Epilogue<'a>,
}

impl DepthwiseRows<'_> {
    /// Computes the output rows `rows`, which are counted through the batch. `x` has all rows that they read.
    pub(super) fn run(&self, cpu: &Cpu, rows: Range<usize>, y: &mut [f32]) {
        let Self { g, zeros, w, .. } = *self;
        assert!(applies(g) && w.len() >= 9 * g.c && zeros.len() >= g.c, "nine weights for each channel");
        let row = g.ow() * g.c;
        assert_eq!(y.len(), rows.len() * row, "the output has the length of its rows");
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
    y: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let c = self.of.g.c;
        if c < S::LANES {
            return self.strided::<S, false>(s, 0);
        }
        for first in (0..c).step_by(S::LANES) {
            // The last vector computes some channels of the one before again instead of a part of a vector.
            self.strided::<S, true>(s, first.min(c - S::LANES));
        }
    }
}

impl<'a> Row<'a> {
    #[inline(always)]
    fn strided<S: Simd, const WHOLE: bool>(&mut self, s: S, first: usize) {
        match self.of.g.stride[1] {
            1 => self.channels::<S, WHOLE, 1>(s, first),
            _ => self.channels::<S, WHOLE, 2>(s, first),
        }
    }

    /// Computes the channels of one vector from `first` on: all lanes of it, or the row's only channels.
    #[inline(always)]
    fn channels<S: Simd, const WHOLE: bool, const STRIDE: usize>(&mut self, s: S, first: usize) {
        let DepthwiseRows { g, w, epilogue, .. } = self.of;
        let (c, lines) = (g.c, self.lines(first));
        let lanes = if WHOLE { S::LANES } else { c };
        let mut weights = [s.zero(); 9];
        for (tap, weight) in weights.iter_mut().enumerate() {
            *weight = s.get(&w[tap * c + first..][..lanes]);
        }
        let mut bias = s.zero();
        if let Some(values) = epilogue.bias {
            bias = s.get(&values[first..][..lanes]);
        }
        let bounds = epilogue.activation.bounds();
        let [low, high] = bounds.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        let (low, high) = (s.splat(low), s.splat(high));
        let mut left = self.column(s, &lines, lanes, 0);
        let mut mid = self.column(s, &lines, lanes, 1);
        for pixel in 0..g.ow() {
            if STRIDE == 2 {
                mid = self.column(s, &lines, lanes, 2 * pixel + 1);
            }
            let right = self.column(s, &lines, lanes, STRIDE * pixel + 2);
            let mut sum = s.zero();
            for ky in 0..3 {
                sum = s.fma(left[ky], weights[3 * ky], sum);
                sum = s.fma(mid[ky], weights[3 * ky + 1], sum);
                sum = s.fma(right[ky], weights[3 * ky + 2], sum);
            }
            let mut v = sum;
            if epilogue.bias.is_some() {
                v = s.add(v, bias);
            }
            if let Some(residual) = epilogue.residual {
                let at = (self.index * g.ow() + pixel) * c;
                v = s.add(v, s.get(&residual[at + first..][..lanes]));
            }
            if bounds.is_some() {
                v = s.min(high, s.max(low, v));
            } else {
                v = activate(s, epilogue.activation, v);
            }
            s.put(&mut self.y[pixel * c + first..][..lanes], v);
            (left, mid) = if STRIDE == 1 { (mid, right) } else { (right, mid) };
        }
    }

    /// The three rows of the input that the row reads, from channel `first` on.
    #[inline(always)]
    fn lines(&self, first: usize) -> [Line<'a>; 3] {
        let DepthwiseRows { g, x, first: before, zeros, .. } = self.of;
        let (image, oy) = (self.index / g.oh(), self.index % g.oh());
        let mut lines: [Line; 3] = [(&zeros[first..g.c], 0); 3];
        for (ky, line) in lines.iter_mut().enumerate() {
            let y = (oy * g.stride[0] + ky).wrapping_sub(g.padding[0]);
            if y < g.h {
                *line = (&x[(image * g.h + y - before) * g.w * g.c..][first..g.w * g.c], g.c);
            }
        }
        lines
    }

    /// The first `lanes` channels of column `x` of the padded input.
    #[inline(always)]
    fn column<S: Simd>(&self, s: S, lines: &[Line; 3], lanes: usize, x: usize) -> [S::F; 3] {
        let (g, x) = (self.of.g, x.wrapping_sub(self.of.g.padding[1]));
        let mut column = [s.zero(); 3];
        if x < g.w {
            for (value, (line, step)) in column.iter_mut().zip(lines) {
                *value = s.get(&line[x * step..][..lanes]);
            }
        }
        column
    }
}

/// A row of the input, and the distance of its pixels: 0 in the padding, where every pixel is zero.
type Line<'a> = (&'a [f32], usize);
