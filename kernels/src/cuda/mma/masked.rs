//! Convolution on tensor cores that leaves out filters and blocks of channels.

use super::conv2d::{check, forward_windows};
use super::{Kernels, Output, Slices, Tile, Windows, grades, sum_slices};
use crate::cuda::error::Result;
use crate::cuda::source::CONV2D_MMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::shapes::Conv2d;
use bytemuck::{Pod, Zeroable};

const MASKED: Kernels = Kernels {
    tiles: &[
        (Tile::Square128, grades!("conv2d_mma_masked", "_128x128")),
        (Tile::Square64, grades!("conv2d_mma_masked", "_64x64")),
    ],
    any: grades!("conv2d_mma_masked", "_any"),
};

/// What a masked convolution computes, as lists on the device.
#[derive(Debug)]
pub struct Mask {
    /// All filters, the live ones first.
    filters: DeviceBuffer,
    live: usize,
    /// Blocks of channels that are read; `None`: all of them.
    blocks: Option<DeviceBuffer>,
    /// Channels of those blocks, and of all that the mask speaks of.
    channels: [usize; 2],
}

impl Mask {
    /// Channels of a block.
    pub const BLOCK: usize = 16;

    /// Lists filters with `live[o]`, and of the blocks of [`Self::BLOCK`] channels those with `blocks[i]`: the weights of
    /// the others are taken for zeros. Blocks must cover all channels of a convolution.
    ///
    /// # Errors
    /// Where the device's memory does not hold the lists.
    pub fn new(cuda: &Cuda, live: &[bool], blocks: Option<&[bool]>) -> Result<Self> {
        let list = |flags: &[bool], wanted: bool| -> Vec<u32> {
            (0..flags.len() as u32).filter(|&i| flags[i as usize] == wanted).collect()
        };
        let alive = list(live, true);
        let filters = cuda.upload_u32(&[alive.as_slice(), &list(live, false)].concat())?;
        let kept = blocks.map(|blocks| list(blocks, true));
        let counts = [kept.as_ref().map_or(0, Vec::len), blocks.map_or(0, <[bool]>::len)];
        let blocks = kept.map(|kept| cuda.upload_u32(&kept)).transpose()?;
        Ok(Self { filters, live: alive.len(), blocks, channels: counts.map(|n| n * Self::BLOCK) })
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Live {
    filters: u64,
    blocks: u64,
    live: i32,
    /// The struct's last four bytes, which a compiler would leave out.
    unused: i32,
}

/// `y = activation(x ∗ w + bias + residual)` where filters and blocks of channels that `mask` leaves out contribute
/// nothing to `x ∗ w`, and take no time. Shapes and types as for [`super::conv2d_forward`].
pub fn conv2d_masked_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    mask: &Mask,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, w, y);
    assert_eq!((w.dtype(), y.dtype()), (x.dtype(), x.dtype()), "input, weight and output of one type");
    assert_eq!(mask.filters.len(), g.o, "a mask of the filters");
    assert!(mask.blocks.is_none() || mask.channels[1] == g.c, "a mask of all blocks of channels");
    epilogue.check(g.o, y);
    let pixels = y.len() / g.o;
    let vectors = g.c.is_multiple_of(x.dtype().lanes());
    let windows = match mask.blocks {
        Some(_) => forward_windows(g).with_channels(mask.channels[0]),
        None => forward_windows(g),
    };
    let k = (windows.taps * windows.channels) as usize;
    let plan = MASKED.plan(cuda, [pixels, mask.live, k], x.dtype());
    let (kernel, tile) = MASKED.choose(x.dtype(), vectors, plan.tile);
    let slices = Slices::at_most(plan.slices, k, x.dtype());
    let address = |list: &DeviceBuffer| list.address();
    let live = [Live {
        filters: address(&mask.filters),
        blocks: mask.blocks.as_ref().map_or(0, address),
        live: if mask.blocks.is_some() && mask.channels[0] == 0 { 0 } else { mask.live as i32 },
        unused: 0,
    }];
    let (windows, output) = ([windows], Output::dense(pixels, g.o, epilogue.activation, y));
    sum_slices(cuda, slices.count, output, epilogue, y, |output, epilogue, y| {
        let output = [output];
        let args = [
            (&windows).into(),
            (&live).into(),
            x.into(),
            w.into(),
            epilogue.bias.into(),
            epilogue.residual.into(),
            y.into(),
            (&output).into(),
            slices.len.into(),
        ];
        // SAFETY: windows end at the image's edge, the lists at the last live filter and block, which lie inside the
        // weight (asserted); rows and columns of the output are below its own, for each slice of the grid.
        unsafe { cuda.launch(&CONV2D_MMA, kernel, tile.grid(pixels, g.o, slices.count), &args) }
    })
}

impl Windows {
    /// The same windows, of `channels` of the array's channels.
    fn with_channels(self, channels: usize) -> Self {
        Self { channels: channels as i32, by_channels: super::Divide::by(channels.max(1)), ..self }
    }
}
