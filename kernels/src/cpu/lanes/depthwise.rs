//! Depthwise 3×3 convolution of images that stay in row lanes.
//!
//! A plane of lanes holds one channel, so each weight is a broadcast, and neighbors in a row are shifts by one lane:
//!
//! ```text
//!   for plane                                (a channel of a group of images)
//!     for vector of a row
//!       for input row r                      x = lanes, moved up, in place and moved down
//!         output r − 1 += weights[2] · x     complete: bias, residual, activation, store
//!         output r     += weights[1] · x
//!         output r + 1 += weights[0] · x
//! ```
//!
//! Each row is loaded once for three rows of outputs. A sum adds its taps in the order of the channels-last kernel, so
//! that both give the same bits. With stride 2, every second row is the middle of one row of outputs, and the others end one and
//! begin the next; of a row of sums, every second lane is stored: sums that nothing stores take less time than moving
//! pixels would.

use super::images::LaneImages;
use crate::cpu::Cpu;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::simd::activate::activate;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// The number of floats of the planes of a task.
const TASK: usize = 1 << 13;

/// The lanes in which a depthwise convolution of `g` writes its output if it reads images in the lanes of `x`, if it can.
pub(in crate::cpu) fn lanes_after(g: &Conv2d, x: &LaneImages) -> Option<LaneImages> {
    let padded = g.padding == [1; 2] && g.extra_padding == [0; 2];
    let square = [g.kh, g.kw] == [3; 2] && padded && g.dilation == [1; 2];
    if !(g.is_depthwise() && g.o == g.c && square && x.holds([g.n, g.h, g.w])) {
        return None;
    }
    let (height, width) = (g.oh(), g.ow());
    match g.stride {
        [1, 1] => Some(*x),
        // Half a vector of outputs for each vector of a row; narrow images would move to other groups.
        [2, 2] if x.linked => Some(LaneImages { height, width, vectors: width.div_ceil(x.lanes), ..*x }),
        _ => None,
    }
}

/// Computes `y = activation(x ∗ w + bias + residual)` for images in the first of `images` to images, and a residual, in
/// the second, which [`lanes_after`] returns. `w` is `[9, C]`.
pub(in crate::cpu) fn run(
    cpu: &Cpu,
    g: &Conv2d,
    images: [&LaneImages; 2],
    x: &[f32],
    w: &[f32],
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    assert!(lanes_after(g, images[0]).as_ref() == Some(images[1]) && w.len() >= 9 * g.c, "one geometry");
    let [from, to] = images.map(LaneImages::plane);
    let lens = images.map(|images| images.len(g.c));
    assert_eq!([x.len(), y.len()], lens, "input and output have the length of their layout");
    epilogue.check(g.c, lens[1]);
    let planes = (TASK / from).max(1);
    cpu.run(|| {
        cpu.divide(y.par_chunks_mut(planes * to).enumerate()).for_each(|(task, y)| {
            for (i, y) in y.chunks_exact_mut(to).enumerate() {
                let index = task * planes + i;
                let channel = index % g.c;
                let weights = std::array::from_fn(|tap| w[tap * g.c + channel]);
                let bias = epilogue.bias.map(|bias| bias[channel]);
                let residual = epilogue.residual.map(|residual| &residual[index * to..(index + 1) * to]);
                let end = End { bias, residual, epilogue };
                let x = &x[index * from..(index + 1) * from];
                cpu.dispatch(Plane { images, stride: g.stride[0], x, weights: &weights, end, y });
            }
        });
    });
}

/// The epilogue of a plane.
struct End<'a> {
    bias: Option<f32>,
    residual: Option<&'a [f32]>,
    epilogue: &'a Epilogue<'a>,
}

/// A channel of a group of images.
struct Plane<'a> {
    /// The lanes of the input and of the output.
    images: [&'a LaneImages; 2],
    stride: usize,
    x: &'a [f32],
    weights: &'a [f32; 9],
    end: End<'a>,
    y: &'a mut [f32],
}

impl Plane<'_> {
    /// The lanes of vector `vector` that have a neighbor before and after them, as bits.
    fn neighbors(&self, vector: usize) -> [u32; 2] {
        let LaneImages { width, lanes, linked, .. } = *self.images[0];
        let column = |lane: usize| if linked { vector * lanes + lane } else { lane % width };
        let bits = |has: &dyn Fn(usize) -> bool| {
            (0..lanes).fold(0, |bits, lane| bits | u32::from(has(column(lane))) << lane)
        };
        [bits(&|x| x > 0), bits(&|x| x + 1 < width)]
    }
}

impl Kernel for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let LaneImages { height, vectors, linked, lanes, .. } = *self.images[0];
        let (row, written) = (vectors * S::LANES, self.images[1].row());
        assert!(lanes == S::LANES && self.x.len() == height * row);
        // The lanes of a vector that are stored, and their number.
        let (stored, count) = ((u32::MAX / 3) >> (u32::BITS as usize - S::LANES), S::LANES / self.stride);
        let mut weights = [[s.zero(); 3]; 3];
        for (weight, &value) in weights.as_flattened_mut().iter_mut().zip(self.weights) {
            *weight = s.splat(value);
        }
        let bias = self.end.bias.map(|bias| s.splat(bias));
        // A row may have more vectors than its pixels need, but no more than the output has places for.
        for vector in 0..vectors.min(written / count) {
            let [has_before, has_after] = self.neighbors(vector).map(|bits| s.set(bits));
            // The sums of the output rows before and at the input row, which lack their last rows of taps.
            let [mut above, mut here] = [s.zero(); 2];
            for r in 0..height + 2 {
                // Rows 0 and `height + 1` are padding.
                let mut pixels = [s.zero(); 3];
                if (1..=height).contains(&r) {
                    let x = &self.x[(r - 1) * row..][..row];
                    let v = s.get(&x[vector * S::LANES..]);
                    let (mut before, mut after) = (s.zero(), s.zero());
                    if linked && vector > 0 {
                        before = s.get(&x[(vector - 1) * S::LANES..]);
                    }
                    if linked && vector + 1 < vectors {
                        after = s.get(&x[(vector + 1) * S::LANES..]);
                    }
                    pixels = [s.shift_up(before, v, has_before), v, s.shift_down(v, after, has_after)];
                }
                if self.stride > 1 && r % 2 == 1 {
                    // With stride 2, every second row is the middle one of one output row.
                    above = add(s, here, &pixels, &weights[1]);
                    continue;
                }
                let mut sum = add(s, above, &pixels, &weights[2]);
                if self.stride == 1 {
                    above = add(s, here, &pixels, &weights[1]);
                }
                here = add(s, s.zero(), &pixels, &weights[0]);
                if r < 2 {
                    continue;
                }
                if self.stride > 1 {
                    sum = s.compress(sum, stored);
                }
                let at = (r - 2) / self.stride * written + vector * count;
                if let Some(bias) = bias {
                    sum = s.add(sum, bias);
                }
                if let Some(residual) = self.end.residual {
                    sum = s.add(sum, s.get(&residual[at..at + count]));
                }
                let y = &mut self.y[at..at + count];
                s.put(y, activate(s, self.end.epilogue.activation, sum));
            }
        }
    }
}

/// `sum` and the products of three pixels, in order.
#[inline(always)]
fn add<S: Simd>(s: S, sum: S::F, pixels: &[S::F; 3], taps: &[S::F; 3]) -> S::F {
    s.fma(pixels[2], taps[2], s.fma(pixels[1], taps[1], s.fma(pixels[0], taps[0], sum)))
}
