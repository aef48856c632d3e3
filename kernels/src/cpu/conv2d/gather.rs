//! Gathers the live input channels of a compact convolution into an image of their own.
//!
//! The *carrier* is a gathered channel that is 1 inside the image and, like every channel, 0 in the padding. Its
//! weights hold the summed effect of dead inputs whose value is constant but not zero. The result is exact, at the
//! border as well.
//!
//! ```text
//!   for pixel that is read, vector of channels
//!     compress the lanes whose channel is live; store a whole vector     the next one overwrites its end
//! ```
//!
//! A task of a direct 1×1 convolution gathers the pixels that it multiplies, which then lie in its core's caches. Windows of
//! other kernels overlap, and Winograd's algorithm transforms its pixels first, so that a pass of its own gathers the whole
//! image for them. Most of its time is that of reading the wide image, which an index list in the product's tile would read,
//! too.

use super::scatter::bits;
use crate::cpu::Cpu;
use crate::cpu::simd::{Kernel, Simd};
use crate::params::CompactIndex;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// The input channels that a convolution reads.
pub(super) struct Gather {
    /// The number of live inputs.
    live: usize,
    /// One bit per channel, set if it is gathered, in whole vectors of the widest instruction set.
    bits: Vec<u8>,
    carrier: bool,
    /// The number of channels of the image that they are gathered from.
    channels: usize,
}

/// The convolution of live channels inside the geometry `g`, and the pattern of its weights. No size of a geometry is
/// 0: without live inputs, it has one channel of zeros; without live outputs, one dead filter.
pub(super) fn inner(g: &Conv2d, index: &CompactIndex) -> (Conv2d, Pattern) {
    let (c, o) = (index.inputs.len() + usize::from(index.carrier), index.outputs.len());
    let inner = Conv2d { c: c.max(1), o: o.max(1), ..*g };
    let pattern = match o {
        0 => Pattern::of_filters(&[false], inner.filters_shape()),
        _ => Pattern::dense(inner.filters_shape()),
    };
    (inner, pattern)
}

/// The convolution that reads the gathered image in place of `g`: a kernel of one pixel reads only one pixel of each
/// stride, so that only those are gathered.
pub(super) fn read(g: &Conv2d) -> Conv2d {
    if in_tasks(g) { Conv2d { h: g.oh(), w: g.ow(), stride: [1; 2], ..*g } } else { *g }
}

/// Whether each window is one pixel, so that the tasks of the direct product gather what they multiply.
pub(super) fn in_tasks(g: &Conv2d) -> bool {
    [g.kh, g.kw] == [1; 2] && g.padded() == [g.h, g.w]
}

/// Gathers the pixels of the windows of `g`, each of which is [one pixel](in_tasks).
#[derive(Clone, Copy)]
pub(super) struct WindowGather<'a> {
    pub gather: &'a Gather,
    pub g: &'a Conv2d,
}

impl WindowGather<'_> {
    /// Copies the live channels of the windows from `first` on from the images `x` to contiguous pixels.
    pub(super) fn pixels(&self, cpu: &Cpu, x: &[f32], first: usize, mut to: &mut [f32]) {
        let Self { gather, g } = self;
        let (c, width, step, ow) = (gather.channels, gather.width(), g.stride[1], g.ow());
        if g.stride == [1; 2] {
            let count = to.len() / width;
            return gather.pixels(cpu, &x[c * first..][..c * count], to);
        }
        // The windows of one row of outputs at a time.
        let mut window = first;
        while !to.is_empty() {
            let (row, column) = (window / ow, window % ow);
            let count = (ow - column).min(to.len() / width);
            let (image, y) = (row / g.oh(), row % g.oh() * g.stride[0]);
            let from = &x[((image * g.h + y) * g.w + column * step) * c..];
            let (part, rest) = to.split_at_mut(count * width);
            cpu.dispatch(Compress { gather, from, step, to: part });
            (window, to) = (window + count, rest);
        }
    }
}

impl Gather {
    /// Gathers the channels `inputs` of images with `channels` channels, and perhaps a carrier. Returns `None` if all
    /// channels are read as they are.
    pub(super) fn new(inputs: &[u32], carrier: bool, channels: usize) -> Option<Self> {
        assert!(inputs.is_sorted_by(|a, b| a < b), "live inputs are listed in ascending order");
        assert!(inputs.iter().all(|&c| (c as usize) < channels), "live inputs lie inside the width");
        let gather = || Self { live: inputs.len(), bits: bits(inputs, channels), carrier, channels };
        (carrier || inputs.len() < channels).then(gather)
    }

    /// The number of channels of the gathered image, at least one.
    pub(super) fn width(&self) -> usize {
        (self.live + usize::from(self.carrier)).max(1)
    }

    /// Copies the live channels of some pixels that lie one after another.
    fn pixels(&self, cpu: &Cpu, from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len() / self.channels, to.len() / self.width(), "as many pixels are written as read");
        cpu.dispatch(Compress { gather: self, from, step: 1, to });
    }

    /// Copies the live channels of all pixels of `x`.
    pub(super) fn run_all(&self, cpu: &Cpu, x: &[f32], gathered: &mut [f32]) {
        // A thread copies this many floats while another one wakes up.
        const FLOATS: usize = 1 << 16;
        let (c, width) = (self.channels, self.width());
        let pixels = FLOATS.div_ceil(c);
        cpu.run(|| {
            let parts = gathered.par_chunks_mut(pixels * width).zip(x.par_chunks(pixels * c));
            cpu.divide(parts).for_each(|(to, from)| self.pixels(cpu, from, to));
        });
    }
}

/// Copies the live channels of every `step`-th pixel.
struct Compress<'a> {
    gather: &'a Gather,
    from: &'a [f32],
    step: usize,
    to: &'a mut [f32],
}

impl Kernel for Compress<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let &Gather { live, ref bits, carrier, channels } = self.gather;
        let (width, to) = (self.gather.width(), self.to);
        let whole = channels / S::LANES;
        for (pixel, from) in (0..to.len() / width).zip(self.from.chunks(self.step * channels)) {
            let (from, mut next) = (&from[..channels], pixel * width);
            let last = next + live;
            // Storing a part of a vector takes longer, so a whole one extends into the next pixel, which is written later.
            let whole = if last + S::LANES <= to.len() { whole } else { 0 };
            for vector in 0..whole {
                let mask = s.mask(bits, vector);
                // SAFETY: a pixel has `whole` vectors, and there is room for one behind the last live channel.
                unsafe {
                    let v = s.load(from.as_ptr().add(vector * S::LANES));
                    s.store(to.as_mut_ptr().add(next), s.compress(v, mask));
                }
                next += mask.count_ones() as usize;
            }
            for (vector, from) in (whole..).zip(from[whole * S::LANES..].chunks(S::LANES)) {
                let mask = s.mask(bits, vector);
                let count = mask.count_ones() as usize;
                s.put(&mut to[next..next + count], s.compress(s.get(from), mask));
                next += count;
            }
            to[last..][..width - live].fill(if carrier { 1.0 } else { 0.0 });
        }
    }
}
