//! The parts that masked and compact convolutions share: lists of live channels, and outputs that are not computed.

use super::patches::{Patches, int};
use super::tiles::{Blocking, in_parts};
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::Grid;
use crate::cuda::driver::source::CONV2D_SPARSE_F32;
use crate::cuda::ops::EpilogueArg;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::shapes::Conv2d;

/// `Selected` in `conv2d_sparse_f32.cu`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Argument {
    p: Patches,
    groups: i32,
    splits: i32,
    width: i32,
    inner: i32,
    columns: i32,
    x: u64,
    w: u64,
    y: u64,
    part: u64,
    end: EpilogueArg,
    inputs: u64,
    outputs: u64,
    first: u64,
}

/// The live channels of a convolution, on the device.
pub(super) struct Selected {
    /// Live blocks of 16 input channels (masked), or live input channels (compact).
    pub inputs: DeviceBuffer,
    /// The channels that the reduction covers: 16 per block, or the gathered ones and the carrier.
    pub channels: usize,
    /// Input channels: of a group (masked), or those that are gathered (compact).
    pub inner: usize,
    outputs: DeviceBuffer,
    /// The offset in `outputs` of each group's live filters, followed by the end of the last group's.
    first: DeviceBuffer,
    /// The largest number of live filters in a group.
    most: usize,
    dead: DeviceBuffer,
}

impl Selected {
    /// Builds the lists for the filters `live` of `g`, which ascend.
    pub fn new(
        cuda: &Cuda,
        g: &Conv2d,
        live: &[u32],
        inputs: &[u32],
        channels: usize,
        inner: usize,
    ) -> Result<Self> {
        let dead: Vec<u32> = (0..g.o as u32).filter(|filter| live.binary_search(filter).is_err()).collect();
        let mut counts = vec![0; g.groups];
        live.iter().for_each(|&filter| counts[filter as usize / (g.o / g.groups)] += 1);
        let mut first = vec![0];
        first.extend(counts.iter().scan(0, |sum, count| {
            *sum += *count as u32;
            Some(*sum)
        }));
        Ok(Self {
            inputs: cuda.upload_u32(inputs)?,
            channels,
            inner,
            outputs: cuda.upload_u32(live)?,
            first: cuda.upload_u32(&first)?,
            most: counts.into_iter().max().unwrap_or(0),
            dead: cuda.upload_u32(&dead)?,
        })
    }

    /// Multiply-accumulates per pixel.
    pub fn products(&self, g: &Conv2d) -> usize {
        self.outputs.len() * g.kh * g.kw * self.channels
    }

    /// Computes the live filters with the kernel that `name` returns for a blocking, and sets the others to
    /// `activation(dead + residual)`. `end` matches `y`; `dead` is the address of `[O]` f32s, or null for zeros.
    pub fn run(
        &self,
        cuda: &Cuda,
        g: &Conv2d,
        [x, w]: [&DeviceBuffer; 2],
        (end, dead): (EpilogueArg, u64),
        y: &mut DeviceBuffer,
        name: impl Fn(&Blocking) -> &'static str,
    ) -> Result<()> {
        let pixels = g.n * g.oh() * g.ow();
        let blocking = Blocking::new(cuda, g.groups, pixels, self.most, g.kh * g.kw * self.channels);
        // Partial results have gaps at dead filters; the sums written there are overwritten below.
        in_parts(cuda, blocking.splits, g.o, end, y, |y, end| {
            let argument = Argument {
                p: Patches { channels: int(self.channels), ..Patches::of_input(g) },
                groups: int(g.groups),
                splits: int(blocking.splits),
                width: int(g.o),
                inner: int(self.inner),
                columns: int(self.most),
                x: x.address(),
                w: w.address(),
                y: y.address(),
                part: g.y_len() as u64,
                end,
                inputs: self.inputs.address(),
                outputs: self.outputs.address(),
                first: self.first.address(),
            };
            let grid = blocking.grid(g.groups, pixels, self.most);
            // SAFETY: the lists hold channels inside the shapes, as asserted at their creation. Pixels, filters and
            // steps past the last are not read, nor are taps outside the image. Buffers have the lengths of their
            // shapes (asserted by the caller), and y that of all parts.
            unsafe { cuda.launch(&CONV2D_SPARSE_F32, name(&blocking), grid, &[(&[argument]).into()]) }
        })?;
        let end = [EpilogueArg { bias: dead, ..end }];
        let args = [
            (pixels as u64).into(),
            self.dead.len().into(),
            g.o.into(),
            (&self.dead).into(),
            (&end).into(),
            y.into(),
        ];
        let grid = Grid::over(pixels * self.dead.len());
        // SAFETY: one thread per pixel and dead output, all below the lengths of y, residual and `dead`.
        unsafe { cuda.launch(&CONV2D_SPARSE_F32, "conv2d_dead_outputs", grid, &args) }
    }
}
