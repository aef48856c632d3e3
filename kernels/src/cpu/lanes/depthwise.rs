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
//! begin the next; the even and the odd pixels of two vectors are a vector of middles and one of neighbors.

use super::images::LaneImages;
use super::shape::MAX_VECTORS;
use crate::cpu::Cpu;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::simd::activate::Ending;
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
    match g.stride {
        [1, 1] => Some(*x),
        [2, 2] => x.of_size([g.oh(), g.ow()]),
        _ => None,
    }
}

/// The times of a processor, in fused multiply-adds of one vector.
struct Costs {
    /// The time of a vector of channels-last outputs, by stride.
    channels_last: [f64; 2],
    /// The time of a vector of outputs in lanes.
    in_lanes: [f64; 2],
    /// The time in which a vector of a plane is begun and ended.
    ends: f64,
}

/// Fitted on one thread with AVX-512.
const SIXTEEN_LANES: Costs = Costs { channels_last: [18.0, 26.0], in_lanes: [15.0, 27.0], ends: 60.0 };
/// Fitted on one thread with AVX2.
const EIGHT_LANES: Costs = Costs { channels_last: [28.0; 2], in_lanes: [25.0, 60.0], ends: 70.0 };

/// The estimated time by which a convolution of `g` takes longer in the lanes of `x`, which [`lanes_after`] accepts, than of
/// channels-last images, in fused multiply-adds of one vector.
pub(in crate::cpu) fn extra_time(g: &Conv2d, x: &LaneImages) -> f64 {
    let Some(y) = lanes_after(g, x) else { return 0.0 };
    let costs = if x.lanes > 8 { SIXTEEN_LANES } else { EIGHT_LANES };
    let columns = (y.groups() * g.c * y.vectors) as f64;
    let stride = usize::from(g.stride[0] > 1);
    let in_lanes = columns * (costs.in_lanes[stride] * y.height as f64 + costs.ends);
    in_lanes - costs.channels_last[stride] * g.y_len() as f64 / y.lanes as f64
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
    let neighbors: [[u32; 2]; MAX_VECTORS] =
        std::array::from_fn(|vector| neighbors(images[0], g.stride[1], vector));
    let neighbors = &neighbors[..images[1].vectors];
    cpu.run(|| {
        cpu.divide(y.par_chunks_mut(planes * to).enumerate()).for_each(|(task, y)| {
            let first = task * planes;
            cpu.dispatch(Planes { images, g, x, w, neighbors, epilogue, first, y });
        });
    });
}

/// The outputs of vector `vector` whose middle pixels have a neighbor before and after them in `images`, as bits.
fn neighbors(images: &LaneImages, stride: usize, vector: usize) -> [u32; 2] {
    let LaneImages { width, lanes, linked, .. } = *images;
    let column = |lane: usize| if linked { stride * (vector * lanes + lane) } else { lane % width };
    let bits = |has: &dyn Fn(usize) -> bool| {
        (0..lanes).fold(0, |bits, lane| bits | u32::from(has(column(lane))) << lane)
    };
    [bits(&|x| x > 0), bits(&|x| x + 1 < width)]
}

/// Channels of groups of images, one after the other.
struct Planes<'a> {
    /// The lanes of the input and of the output.
    images: [&'a LaneImages; 2],
    g: &'a Conv2d,
    /// All planes.
    x: &'a [f32],
    w: &'a [f32],
    /// Of each vector of an output row.
    neighbors: &'a [[u32; 2]],
    epilogue: &'a Epilogue<'a>,
    /// The plane of the first output.
    first: usize,
    y: &'a mut [f32],
}

impl Kernel for Planes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [from, to] = self.images.map(LaneImages::plane);
        let [read, written] = self.images.map(LaneImages::rows);
        let Epilogue { bias, residual, activation } = *self.epilogue;
        let ending = Ending::new(activation);
        for (i, y) in self.y.chunks_exact_mut(to).enumerate() {
            let index = self.first + i;
            let channel = index % self.g.c;
            let mut weights = [[s.zero(); 3]; 3];
            for (tap, weight) in weights.as_flattened_mut().iter_mut().enumerate() {
                *weight = s.splat(self.w[tap * self.g.c + channel]);
            }
            let plane = Plane {
                images: self.images,
                x: &self.x[index * from..][..read],
                weights,
                // No bias is −0, which changes no number.
                bias: s.splat(bias.map_or(-0.0, |bias| bias[channel])),
                residual: residual.map(|residual| &residual[index * to..][..written]),
                ending,
            };
            let y = &mut y[..written];
            for (vector, &neighbors) in self.neighbors.iter().enumerate() {
                match self.g.stride[0] {
                    1 => plane.vector::<1>(s, vector, neighbors, y),
                    _ => plane.vector::<2>(s, vector, neighbors, y),
                }
            }
        }
        ending.in_place(s, self.y);
    }
}

/// A channel of a group of images.
struct Plane<'a, S: Simd> {
    /// The lanes of the input and of the output.
    images: [&'a LaneImages; 2],
    x: &'a [f32],
    /// By row and column of the kernel.
    weights: [[S::F; 3]; 3],
    bias: S::F,
    residual: Option<&'a [f32]>,
    ending: Ending,
}

impl<S: Simd> Plane<'_, S> {
    /// Computes vector `vector` of all output rows, up to an activation that is not a clamp.
    #[inline(always)]
    fn vector<const STRIDE: usize>(&self, s: S, vector: usize, neighbors: [u32; 2], y: &mut [f32]) {
        let [from, to] = self.images;
        let (height, row, written) = (from.height, from.row(), to.row());
        assert!(from.lanes == S::LANES && (vector + 1) * S::LANES <= written);
        assert!(self.x.len() == height * row && y.len() == height.div_ceil(STRIDE) * written);
        assert!(self.residual.is_none_or(|residual| residual.len() == y.len()));
        let columns = Columns::<STRIDE>::new(from, vector, neighbors);
        // SAFETY: there are `height` rows of the input, and a vector of each row of the output, and of the residual, from `at`
        // on; each is computed once.
        unsafe {
            let (x, y) = (self.x.as_ptr(), y.as_mut_ptr());
            let mut at = vector * S::LANES;
            let [first, middle, last] = &self.weights;
            let padding = [s.zero(); 3];
            // The sum of an output row that lacks its last two rows of taps.
            let mut here = add(s, s.zero(), &padding, first);
            if STRIDE > 1 {
                for r in (0..height).step_by(2) {
                    let above = add(s, here, &columns.pixels(s, x.add(r * row)), middle);
                    let below =
                        if r + 1 < height { columns.pixels(s, x.add((r + 1) * row)) } else { padding };
                    here = add(s, s.zero(), &below, first);
                    self.write(s, add(s, above, &below, last), y, at);
                    at += written;
                }
                return;
            }
            // The sum of the row before it, which lacks its last row of taps.
            let mut above = s.zero();
            for r in 0..height {
                let pixels = columns.pixels(s, x.add(r * row));
                if r > 0 {
                    self.write(s, add(s, above, &pixels, last), y, at);
                    at += written;
                }
                above = add(s, here, &pixels, middle);
                here = add(s, s.zero(), &pixels, first);
            }
            self.write(s, add(s, above, &padding, last), y, at);
        }
    }

    /// Adds bias and residual, clamps and stores a vector.
    ///
    /// # Safety
    /// The output has `LANES` floats from `at` on, and the residual, too.
    #[inline(always)]
    unsafe fn write(&self, s: S, sum: S::F, y: *mut f32, at: usize) {
        let mut sum = s.add(sum, self.bias);
        // SAFETY: guaranteed by the caller.
        unsafe {
            if let Some(residual) = self.residual {
                sum = s.add(sum, s.load(residual.as_ptr().add(at)));
            }
            s.store(y.add(at), self.ending.in_registers(s, sum));
        }
    }
}

/// Where a vector of outputs finds its pixels in an input row.
struct Columns<const STRIDE: usize> {
    /// The places of the vectors before, at and after the middle pixels. If the row lacks one, it is another one whose
    /// lanes no output takes.
    places: [usize; 3],
    /// The outputs that have a neighbor before and after their middle pixels, as bits.
    neighbors: [u32; 2],
}

impl<const STRIDE: usize> Columns<STRIDE> {
    fn new(images: &LaneImages, vector: usize, neighbors: [u32; 2]) -> Self {
        let at = STRIDE * vector;
        assert!(at < images.vectors, "the row has the middle pixels");
        let [before, next] = [at.saturating_sub(1), (at + 1).min(images.vectors - 1)];
        Self { places: [before * images.lanes, at * images.lanes, next * images.lanes], neighbors }
    }

    /// The pixels of an input row under each column of the kernel.
    ///
    /// # Safety
    /// It is a row of the images that [`Columns::new`] was told.
    #[inline(always)]
    unsafe fn pixels<S: Simd>(&self, s: S, row: *const f32) -> [S::F; 3] {
        // SAFETY: guaranteed by the caller, as a vector of the row is at each place.
        let (before, v, next) = unsafe {
            let [before, at, next] = self.places;
            (s.load(row.add(before)), s.load(row.add(at)), s.load(row.add(next)))
        };
        let (has_before, has_after) = (s.set(self.neighbors[0]), s.set(self.neighbors[1]));
        if STRIDE == 1 {
            return [s.shift_up(before, v, has_before), v, s.shift_down(v, next, has_after)];
        }
        let [even, odd] = s.deinterleave(v, next);
        [s.shift_up(before, odd, has_before), even, s.select(self.neighbors[1], odd, s.zero())]
    }
}

/// `sum` and the products of three pixels, in order.
#[inline(always)]
fn add<S: Simd>(s: S, sum: S::F, pixels: &[S::F; 3], taps: &[S::F; 3]) -> S::F {
    s.fma(pixels[2], taps[2], s.fma(pixels[1], taps[1], s.fma(pixels[0], taps[0], sum)))
}
