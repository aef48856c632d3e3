//! Masked convolution: dead filters are not computed, and dead blocks of input channels are skipped.

use super::BLOCK;
use super::patches::check;
use super::selected::Selected;
use super::tiles::kernel;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue, Result};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;

/// Live filters and blocks of input channels, as lists on the device.
pub struct LiveLists(Selected);

impl LiveLists {
    /// Lists the live filters of `g`, whose weights have this `pattern`, and the blocks of [`BLOCK`] input channels of
    /// a group that any of them reads.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    pub fn new(cuda: &Cuda, g: &Conv2d, pattern: &Pattern) -> Result<Self> {
        assert_eq!(pattern.shape(), g.filters_shape(), "the pattern has the shape of the weight");
        let mut blocks = pattern.input_blocks(BLOCK);
        if blocks.is_empty() {
            blocks.push(0); // a reduction needs at least one step; no live filter takes it
        }
        let channels = blocks.len() * BLOCK;
        Ok(Self(Selected::new(cuda, g, pattern.filters(), &blocks, channels, g.c / g.groups)?))
    }
}

/// Computes `y = activation(x ∗ w + bias + residual)`; weights that `mask` drops contribute nothing to `x ∗ w`.
/// Shapes as for [`super::conv2d_forward`], all f32.
pub fn conv2d_masked_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    mask: &LiveLists,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, w, y);
    epilogue.check(g.o, y);
    let end = epilogue.arg();
    mask.0
        .run(cuda, g, [x, w], (end, end.bias), y, |blocking| kernel!(blocking.tile, "conv2d_masked_forward"))
}
