//! Masked convolution: dead filters are not computed, and input channels that no live filter has weights for are skipped.
//! The weight stays as it is; a mask is two short lists.

use super::Epilogue;
use super::grades::{in_single, on_tensor_cores};
use crate::cuda::{Cuda, DeviceBuffer, Result, mma, simt};
use crate::shapes::Conv2d;

/// Input channels that are skipped together: what a tile of the reduction holds.
const BLOCK: usize = simt::BLOCK;
const _: () = assert!(BLOCK == mma::LiveLists::BLOCK);

/// Which filters of a convolution live, and which blocks of input channels they read.
pub struct Masked {
    lists: Lists,
    outer: Conv2d,
    products_of_a_pixel: usize,
}

enum Lists {
    Simt(simt::LiveLists),
    TensorCores(mma::LiveLists),
}

impl Masked {
    /// For `live` `[O]` filters of `w` `[O, KH, KW, C/G]`, and `cuda`'s precision. A block of 16 input channels is dead
    /// where every live filter has weights of zero for it, in every group; a later change of those weights needs a new mask.
    ///
    /// # Errors
    /// Where the device's memory does not hold the lists.
    pub fn new(cuda: &Cuda, g: &Conv2d, w: &[f32], live: &[bool]) -> Result<Self> {
        assert_eq!(
            (w.len(), live.len()),
            (g.w_len(), g.o),
            "weight and mask have the lengths of their shapes"
        );
        let blocks = blocks_with_weights(g, w, live);
        let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count();
        let channels = (count(&blocks) * BLOCK).min(g.c / g.groups);
        let lists = if g.groups == 1 && on_tensor_cores(cuda, cuda.precision().storage()) {
            // Lists are of whole blocks, as their kernels read them.
            let whole = g.c.is_multiple_of(BLOCK) && blocks.contains(&false);
            Lists::TensorCores(mma::LiveLists::new(cuda, live, whole.then_some(blocks.as_slice()))?)
        } else {
            Lists::Simt(simt::LiveLists::new(cuda, g, live, &blocks)?)
        };
        Ok(Self { lists, outer: *g, products_of_a_pixel: count(live) * g.kh * g.kw * channels })
    }

    /// Multiply-accumulates that computing `g` takes.
    pub fn products(&self, g: &Conv2d) -> u64 {
        (g.n * g.oh() * g.ow() * self.products_of_a_pixel) as u64
    }
}

/// Whether any live filter has a weight for each block of input channels of a group.
fn blocks_with_weights(g: &Conv2d, w: &[f32], live: &[bool]) -> Vec<bool> {
    let channels = g.c / g.groups;
    let mut used = vec![false; channels.div_ceil(BLOCK)];
    for (filter, _) in w.chunks_exact(g.w_len() / g.o).zip(live).filter(|(_, live)| **live) {
        for tap in filter.chunks_exact(channels) {
            for (used, block) in used.iter_mut().zip(tap.chunks(BLOCK)) {
                *used |= block.iter().any(|w| *w != 0.0);
            }
        }
    }
    used
}

/// Convolution of live filters with a fused end: `y = activation(x ∗ w + bias + residual)`, where a dead filter
/// contributes zero to `x ∗ w`. Shapes and types as for [`super::conv2d_forward`]; `g` may differ in batch and image size
/// from the mask's.
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
    match &masked.lists {
        Lists::TensorCores(mask) => mma::conv2d_masked_forward(cuda, g, x, w, mask, epilogue, y),
        Lists::Simt(mask) => in_single(cuda, [x, w], epilogue, y, |[x, w], epilogue, y| {
            simt::conv2d_masked_forward(cuda, g, x, w, mask, epilogue, y)
        }),
    }
}
