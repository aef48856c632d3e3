//! Compact convolution. Input and output keep their full width, and the convolution inside has only the live channels.
//!
//! ```text
//!   x [N,H,W,C] ─ gather live inputs (and a 1) ─► [N,H,W,L] ─ product with live filters ─ scatter ─► y [N,OH,OW,O]
//! ```
//!
//! The gathered *carrier* channel is 1 inside the image and, like every channel, 0 in the padding. Its weights hold the
//! summed effect of dead inputs whose value is constant but not zero. The result is exact, at the border as well.

use super::algorithm::{Choice, Packing, Weights};
use super::scatter::Scatter;
use super::{Epilogue, PackedConv2d, check};
use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::params::CompactIndex;
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// The packed weights of a compact convolution, with the channels that it gathers and scatters.
pub struct PackedCompact {
    packed: PackedConv2d,
    scatter: Scatter,
    inputs: Vec<u32>,
    carrier: bool,
    outer: Conv2d,
}

impl PackedCompact {
    /// Packs `w_inner` `[L_out, KH, KW, L_in (+ 1 with a carrier)]`. `g` is the outer geometry, which has one group and
    /// determines the algorithm (see [`PackedConv2d::new`]). `fill` `[O]` holds the values of outputs that are not
    /// computed.
    pub fn new(cpu: &Cpu, g: &Conv2d, index: &CompactIndex, w_inner: &[f32], fill: &[f32]) -> Self {
        Self::with(cpu, g, index, w_inner, fill, Packing::Fastest(Weights::Memory))
    }

    /// Packs `w_inner` for an algorithm that `packing` allows.
    pub fn with(
        cpu: &Cpu,
        g: &Conv2d,
        index: &CompactIndex,
        w_inner: &[f32],
        fill: &[f32],
        packing: Packing,
    ) -> Self {
        assert_eq!(g.groups, 1, "a compact convolution has one group");
        assert!(index.inputs.iter().all(|&c| (c as usize) < g.c), "live inputs lie inside the width");
        let c = index.inputs.len() + usize::from(index.carrier);
        let o = index.outputs.len();
        assert_eq!(w_inner.len(), o * g.kh * g.kw * c, "the weight has the length of its live channels");
        let scatter = Scatter::new(index.outputs.clone(), Some(fill.to_vec()), g.o);
        // Without live inputs the sum is empty. One channel of zeros stands for it, because no size of a geometry is 0.
        let inner = Conv2d { c: c.max(1), o: o.max(1), ..*g };
        let zeros = vec![0.0; if c == 0 { o * g.kh * g.kw } else { 0 }];
        let w = if c == 0 { &zeros } else { w_inner };
        let packed = PackedConv2d::with_filters(cpu, &inner, w, &[o], packing, Buffer::unspecified);
        Self { packed, scatter, inputs: index.inputs.clone(), carrier: index.carrier, outer: *g }
    }

    /// The name of the kernel chosen for the live filters.
    pub fn kernel(&self) -> &'static str {
        self.packed.kernel()
    }

    /// The number of multiply-accumulates needed to compute `g`.
    pub fn products(&self, g: &Conv2d) -> u64 {
        self.packed.products(&Conv2d { c: self.packed.geometry.c, ..*g })
    }

    /// The chosen algorithm and the reason for it.
    pub fn choice(&self) -> &Choice {
        self.packed.choice()
    }

    /// The size of the packed weights in bytes.
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
    }

    /// Copies the live channels of `x` into contiguous pixels.
    fn gather(&self, cpu: &Cpu, x: &[f32], width: usize, gathered: &mut [f32]) {
        const PIXELS: usize = 256;
        let (c, live) = (self.outer.c, self.inputs.len());
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

/// Convolution with live channels only. `x` `[N, H, W, C]` → `y` `[N, OH, OW, O]` of the outer geometry `g`.
/// A computed output is `activation(gathered(x) ∗ w_inner + bias + residual)`; any other output is
/// `activation(fill + residual)`. The bias has length `O` and is read only for computed outputs.
pub fn conv2d_compact_forward(
    cpu: &Cpu,
    g: &Conv2d,
    x: &[f32],
    w: &PackedCompact,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    check(&w.outer, g, x, epilogue, y);
    // Targets are pixels of the outer width; the scatter finds their columns.
    let inner = Conv2d { c: w.packed.geometry.c, ..*g };
    let mut gathered = cpu.scratch(inner.x_len());
    w.gather(cpu, x, inner.c, &mut gathered);
    w.packed.forward(cpu, &inner, &gathered, Some(&w.scatter), epilogue, y);
}
