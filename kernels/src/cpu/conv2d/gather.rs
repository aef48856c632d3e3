//! Gathers the live input channels of a compact convolution into an image of their own.
//!
//! The *carrier* is a gathered channel that is 1 inside the image and, like every channel, 0 in the padding. Its
//! weights hold the summed effect of dead inputs whose value is constant but not zero. The result is exact, at the
//! border as well.

use crate::cpu::Cpu;
use crate::params::CompactIndex;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// The input channels that a convolution reads.
pub(super) struct Gather {
    inputs: Vec<u32>,
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

impl Gather {
    /// Gathers the inputs of `index` from images with `channels` channels.
    pub(super) fn new(index: &CompactIndex, channels: usize) -> Self {
        assert!(index.inputs.iter().all(|&c| (c as usize) < channels), "live inputs lie inside the width");
        Self { inputs: index.inputs.clone(), carrier: index.carrier, channels }
    }

    /// The number of channels of the gathered image, at least one.
    pub(super) fn width(&self) -> usize {
        (self.inputs.len() + usize::from(self.carrier)).max(1)
    }

    /// Copies the live channels of `x` into contiguous pixels.
    pub(super) fn run(&self, cpu: &Cpu, x: &[f32], gathered: &mut [f32]) {
        const PIXELS: usize = 256;
        let (c, width, live) = (self.channels, self.width(), self.inputs.len());
        cpu.run(|| {
            gathered.par_chunks_mut(PIXELS * width).zip(x.par_chunks(PIXELS * c)).for_each(|(to, from)| {
                for (to, from) in to.chunks_exact_mut(width).zip(from.chunks_exact(c)) {
                    for (value, &channel) in to.iter_mut().zip(&self.inputs) {
                        *value = from[channel as usize];
                    }
                    to[live..].fill(if self.carrier { 1.0 } else { 0.0 });
                }
            });
        });
    }
}
