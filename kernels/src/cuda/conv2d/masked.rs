//! Masked convolution: dead filters are not computed, and input channels that no live filter has weights for are skipped.
//! The weight stays as it is; a mask is two short lists.

use super::check;
use super::selected::Selected;
use crate::cuda::error::Result;
use crate::cuda::tiles::kernel;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::shapes::Conv2d;

/// Input channels that are skipped together: what a tile of the reduction holds.
const BLOCK: usize = 16;

/// Which filters of a convolution live, and which blocks of input channels they read.
pub struct Masked {
    selected: Selected,
    outer: Conv2d,
}

impl Masked {
    /// For `live` `[O]` filters of `w` `[O, KH, KW, C/G]`. A block of 16 input channels is dead where every live filter has
    /// weights of zero for it, in every group; a later change of those weights needs a new mask.
    ///
    /// # Errors
    /// Where the device's memory does not hold the lists.
    pub fn new(cuda: &Cuda, g: &Conv2d, w: &[f32], live: &[bool]) -> Result<Self> {
        assert_eq!(
            (w.len(), live.len()),
            (g.w_len(), g.o),
            "weight and mask have the lengths of their shapes"
        );
        let channels = g.c / g.groups;
        let mut used = vec![false; channels.div_ceil(BLOCK)];
        for (filter, _) in w.chunks_exact(g.w_len() / g.o).zip(live).filter(|(_, live)| **live) {
            for tap in filter.chunks_exact(channels) {
                for (used, block) in used.iter_mut().zip(tap.chunks(BLOCK)) {
                    *used |= block.iter().any(|w| *w != 0.0);
                }
            }
        }
        let mut blocks: Vec<u32> = (0..used.len() as u32).filter(|&block| used[block as usize]).collect();
        if blocks.is_empty() {
            blocks.push(0); // a reduction has at least one step; its weights are zero
        }
        let selected = Selected::new(cuda, g, live, &blocks, blocks.len() * BLOCK, channels)?;
        Ok(Self { selected, outer: *g })
    }

    /// Multiply-accumulates that computing `g` takes.
    pub fn products(&self, g: &Conv2d) -> u64 {
        (g.n * g.oh() * g.ow() * self.selected.products(g)) as u64
    }
}

/// Convolution of live filters with a fused end: `y = activation(x ∗ w + bias + residual)`, where a dead filter
/// contributes zero to `x ∗ w`. `x` `[N, H, W, C]`, `w` `[O, KH, KW, C/G]`, `bias` `[O]` → `y` `[N, OH, OW, O]`, all f32.
/// `g` may differ in batch and image size from the mask's.
pub fn conv2d_masked_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    masked: &Masked,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    assert_eq!(*g, Conv2d { n: g.n, h: g.h, w: g.w, ..masked.outer }, "the mask is of another convolution");
    check(g, x, w, y);
    epilogue.check(g.o, y.len());
    let end = epilogue.arg();
    masked.selected.run(cuda, g, [x, w], end, end.bias, y, |plan| kernel!(plan.tile, "conv2d_masked_forward"))
}
