//! Masked convolution: dead filters are not computed, and input channels for which no live filter has weights are
//! skipped. The weight is unchanged; a mask is two short lists.

use super::Epilogue;
use super::grades::{in_single, on_tensor_cores};
use crate::cuda::{Cuda, DeviceBuffer, Result, mma, simt};
use crate::shapes::Conv2d;

/// The number of input channels that are skipped together: the steps that a tile of the reduction holds.
const BLOCK: usize = simt::BLOCK;
const _: () = assert!(BLOCK == mma::LiveLists::BLOCK);

/// The live filters of a convolution, and the blocks of input channels that they read.
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
    /// Builds the mask of the `live` `[O]` filters of `w` `[O, KH, KW, C/G]`, at `cuda`'s precision. A block of 16
    /// input channels is dead if every live filter has zero weights for it, in every group; if those weights change
    /// later, a new mask is needed.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    pub fn new(cuda: &Cuda, g: &Conv2d, w: &[f32], live: &[bool]) -> Result<Self> {
        assert_eq!(
            (w.len(), live.len()),
            (g.w_len(), g.o),
            "the lengths of weight and mask match their shapes"
        );
        let blocks = blocks_with_weights(g, w, live);
        let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count();
        let channels = (count(&blocks) * BLOCK).min(g.c / g.groups);
        let lists = if g.groups == 1 && on_tensor_cores(cuda, cuda.precision().storage()) {
            // The lists hold whole blocks, as the kernels read them.
            let whole = g.c.is_multiple_of(BLOCK) && blocks.contains(&false);
            Lists::TensorCores(mma::LiveLists::new(cuda, live, whole.then_some(blocks.as_slice()))?)
        } else {
            Lists::Simt(simt::LiveLists::new(cuda, g, live, &blocks)?)
        };
        Ok(Self { lists, outer: *g, products_of_a_pixel: count(live) * g.kh * g.kw * channels })
    }

    /// The number of multiply-accumulates to compute `g`.
    pub fn products(&self, g: &Conv2d) -> u64 {
        (g.n * g.oh() * g.ow() * self.products_of_a_pixel) as u64
    }
}

/// Whether any live filter has a nonzero weight in each block of input channels of a group.
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

/// Convolution of live filters with a fused epilogue: `y = activation(x ∗ w + bias + residual)`; a dead filter
/// contributes zero to `x ∗ w`. Shapes and types as for [`super::conv2d_forward`]; `g` may differ from the mask's
/// geometry in batch and image size.
pub fn conv2d_masked_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    masked: &Masked,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    assert_eq!(
        *g,
        Conv2d { n: g.n, h: g.h, w: g.w, ..masked.outer },
        "the mask belongs to another convolution"
    );
    epilogue.around(cuda, y, |epilogue, y| match &masked.lists {
        Lists::TensorCores(mask) => mma::conv2d_masked_forward(cuda, g, x, w, mask, epilogue, y),
        Lists::Simt(mask) => in_single(cuda, [x, w], epilogue, y, |[x, w], epilogue, y| {
            simt::conv2d_masked_forward(cuda, g, x, w, mask, epilogue, y)
        }),
    })
}
