//! Masked convolution. Dead filters are left out of the packed weights, so the product has only the live columns. The
//! store scatters them to their output channels and fills the dead channels with their bias.

use super::algorithm::{Choice, Packing, Weights};
use super::scatter::Scatter;
use super::{Epilogue, PackedConv2d, check};
use crate::buffer::Buffer;
use crate::cpu::{Cpu, depthwise};
use crate::shapes::Conv2d;

/// The live filters of a convolution, packed.
pub struct PackedMasked {
    packed: PackedConv2d,
    scatter: Scatter,
    outer: Conv2d,
}

impl PackedMasked {
    /// Packs the filters of `w` `[O, KH, KW, C/G]` whose entry in `live` `[O]` is set, for the algorithm that suits `g`
    /// (see [`PackedConv2d::new`]). A depthwise convolution is memory-bound, so it computes dead channels with zero
    /// weights instead of skipping them.
    pub fn new(cpu: &Cpu, g: &Conv2d, w: &[f32], live: &[bool]) -> Self {
        Self::with(cpu, g, w, live, Packing::Fastest(Weights::Memory))
    }

    /// Packs the live filters for an algorithm that `packing` allows.
    pub fn with(cpu: &Cpu, g: &Conv2d, w: &[f32], live: &[bool], packing: Packing) -> Self {
        assert_eq!(
            (w.len(), live.len()),
            (g.w_len(), g.o),
            "the weight and the mask have the lengths of their shapes"
        );
        let k = g.w_len() / g.o;
        let outputs: Vec<u32> = (0..g.o as u32).filter(|&o| live[o as usize]).collect();
        let scatter = Scatter::new(outputs, None, g.o);
        if depthwise::applies(g) {
            let mut zeroed = Buffer::from_slice(w);
            for (filter, _) in zeroed.chunks_exact_mut(k).zip(live).filter(|(_, live)| !**live) {
                filter.fill(0.0);
            }
            return Self { packed: PackedConv2d::new(cpu, g, &zeroed), scatter, outer: *g };
        }
        let rows = w.chunks_exact(k).zip(live).filter(|(_, live)| **live);
        let compacted: Vec<f32> = rows.flat_map(|(filter, _)| filter).copied().collect();
        let per_group: Vec<usize> = live
            .chunks_exact(g.o / g.groups)
            .map(|group| group.iter().filter(|live| **live).count())
            .collect();
        let packed = PackedConv2d::with_filters(cpu, g, &compacted, &per_group, packing, Buffer::unspecified);
        Self { packed, scatter, outer: *g }
    }

    /// The name of the kernel chosen for the live filters.
    pub fn kernel(&self) -> &'static str {
        self.packed.kernel()
    }

    /// The number of multiply-accumulates needed to compute `g`.
    pub fn products(&self, g: &Conv2d) -> u64 {
        self.packed.products(g)
    }

    /// The chosen algorithm and the reason for it.
    pub fn choice(&self) -> &Choice {
        self.packed.choice()
    }

    /// The size of the packed weights in bytes.
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
    }
}

/// Convolution that computes only the live filters: packs them, then runs the packed kernel.
/// `x` `[N, H, W, C]`, `w` `[O, KH, KW, C/G]`, `bias` and `live` `[O]` → `y` `[N, OH, OW, O]`;
/// the output of a dead filter is its bias, or zero without a bias.
pub fn conv2d_masked_forward(
    cpu: &Cpu,
    g: &Conv2d,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    live: &[bool],
    y: &mut [f32],
) {
    let packed = PackedMasked::with(cpu, g, w, live, Packing::Fastest(Weights::Fresh));
    conv2d_masked_forward_packed(cpu, g, x, &packed, &Epilogue { bias, ..Default::default() }, y);
}

/// Convolution with packed live filters: `y = activation(x ∗ w + bias + residual)`, where a dead filter
/// contributes zero to `x ∗ w`. Shapes as for [`conv2d_masked_forward`].
pub fn conv2d_masked_forward_packed(
    cpu: &Cpu,
    g: &Conv2d,
    x: &[f32],
    w: &PackedMasked,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    check(&w.outer, g, x, epilogue, y);
    w.packed.forward(cpu, g, x, Some(&w.scatter), epilogue, y);
}
