//! Convolution on tensor cores that skips filters and blocks of channels.

use super::forward::check;
use super::output::Output;
use super::slices::{Slices, sum_slices};
use super::tiles::{Kernels, Tile, grades};
use super::windows_arg::WindowsArg;
use crate::cuda::driver::Result;
use crate::cuda::driver::source::CONV2D_MMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use bytemuck::{Pod, Zeroable};

const MASKED: Kernels = Kernels {
    tiles: &[
        (Tile::Square128, grades!("conv2d_mma_masked", "_128x128")),
        (Tile::Square64, grades!("conv2d_mma_masked", "_64x64")),
    ],
    any: grades!("conv2d_mma_masked", "_any"),
};

/// The filters and channels that a masked convolution computes, as lists on the device.
#[derive(Debug)]
pub struct LiveLists {
    /// All filters, live ones first.
    filters: DeviceBuffer,
    live: usize,
    /// Blocks of channels that are read; `None` means all.
    blocks: Option<DeviceBuffer>,
    /// Channels that are read.
    channels: usize,
    /// All channels.
    width: usize,
}

impl LiveLists {
    /// Channels per block.
    pub const BLOCK: usize = 16;

    /// Lists the live filters of `pattern`, and the blocks of [`Self::BLOCK`] input channels that they read; all other
    /// weights are treated as zero. Blocks are skipped only if they divide the channels evenly, as the kernels read
    /// whole blocks.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    pub fn new(cuda: &Cuda, pattern: &Pattern) -> Result<Self> {
        let [o, _, channels] = pattern.shape();
        let (alive, kept) = (pattern.filters(), pattern.input_blocks(Self::BLOCK));
        let dead = (0..o as u32).filter(|filter| alive.binary_search(filter).is_err());
        let filters = cuda.upload_u32(&alive.iter().copied().chain(dead).collect::<Vec<u32>>())?;
        let skips = channels.is_multiple_of(Self::BLOCK) && kept.len() * Self::BLOCK < channels;
        let blocks = skips.then(|| cuda.upload_u32(&kept)).transpose()?;
        let channels = if skips { kept.len() * Self::BLOCK } else { channels };
        Ok(Self { filters, live: alive.len(), blocks, channels, width: pattern.shape()[2] })
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Live {
    filters: u64,
    blocks: u64,
    live: i32,
    /// Explicit padding for the last four bytes, because `Pod` allows no implicit padding.
    unused: i32,
}

/// Computes `y = activation(x ∗ w + bias + residual)`. Filters and blocks of channels that are not in `lists`
/// contribute nothing to `x ∗ w` and take no time. Shapes and types as for [`super::conv2d_forward`].
pub fn conv2d_masked_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    lists: &LiveLists,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, w, y);
    assert_eq!((w.dtype(), y.dtype()), (x.dtype(), x.dtype()), "input, weight and output have the same type");
    assert_eq!(lists.filters.len(), g.o, "the mask covers the filters");
    assert_eq!(lists.width, g.c, "the mask covers the channels");
    epilogue.check(g.o, y);
    let pixels = y.len() / g.o;
    let vectors = g.c.is_multiple_of(x.dtype().lanes());
    let windows = match lists.blocks {
        Some(_) => WindowsArg::forward(g).with_channels(lists.channels),
        None => WindowsArg::forward(g),
    };
    let k = (windows.taps * windows.channels) as usize;
    let blocking = MASKED.blocking(cuda, [pixels, lists.live, k], x.dtype());
    let (kernel, tile) = MASKED.choose(x.dtype(), vectors, blocking.tile);
    let slices = Slices::at_most(blocking.slices, k, x.dtype());
    let address = |list: &DeviceBuffer| list.address();
    let live = [Live {
        filters: address(&lists.filters),
        blocks: lists.blocks.as_ref().map_or(0, address),
        live: lists.live as i32,
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
        // SAFETY: windows stop at the image's edge and the lists at the last live filter and block, which lie inside
        // the weight (asserted); output rows and columns are below its row and column counts, in each slice of the
        // grid.
        unsafe { cuda.launch(&CONV2D_MMA, kernel, tile.grid(pixels, g.o, slices.count), &args) }
    })
}
