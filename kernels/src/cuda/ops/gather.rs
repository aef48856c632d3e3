//! Gathering of channels. The buffers of one call share one type.

use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::CHANNELS;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;

/// A list of channels in device memory.
pub struct GatherList {
    width: usize,
    channels: Vec<u32>,
    /// The list in units of a few channels, if it consists of such runs.
    list: DeviceBuffer,
    /// Channels of a unit.
    unit: usize,
}

impl GatherList {
    /// Uploads the list of `channels` to gather from rows of `width` channels of `dtype`.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    ///
    /// # Panics
    /// If the list is empty, or a channel lies outside the width.
    pub fn new(cuda: &Cuda, width: usize, channels: &[u32], dtype: Dtype) -> Result<Self> {
        assert!(!channels.is_empty(), "there is a channel to gather");
        assert!(channels.iter().all(|&channel| (channel as usize) < width), "channels lie inside the width");
        let aligned = |unit: usize| {
            let whole = |run: &[u32]| {
                (run[0] as usize).is_multiple_of(unit) && run.iter().zip(run[0]..).all(|(&a, b)| a == b)
            };
            width.is_multiple_of(unit)
                && channels.len().is_multiple_of(unit)
                && channels.chunks_exact(unit).all(whole)
        };
        // Units of sixteen or four bytes, or single channels.
        let unit =
            [16, 4].map(|bytes| bytes / dtype.bytes()).into_iter().find(|&unit| unit > 1 && aligned(unit));
        let unit = unit.unwrap_or(1);
        let list: Vec<u32> = channels.iter().step_by(unit).map(|&channel| channel / unit as u32).collect();
        Ok(Self { width, channels: channels.to_vec(), list: cuda.upload_u32(&list)?, unit })
    }

    /// The size of the list in bytes.
    pub fn bytes(&self) -> usize {
        self.list.bytes()
    }
}

/// `y[row, i] = x[row, channels[i]]`.
pub fn gather_forward(
    cuda: &Cuda,
    gather: &GatherList,
    x: &DeviceBuffer,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let GatherList { width, channels, list, unit } = gather;
    let (rows, dtype) = (x.len() / width, y.dtype());
    assert_eq!((x.len(), y.len(), x.dtype()), (rows * width, rows * channels.len(), dtype));
    let args = [
        (unit * dtype.bytes()).into(),
        Arg::from(rows as u64),
        list.len().into(),
        list.into(),
        x.into(),
        (width / unit).into(),
        y.into(),
    ];
    // SAFETY: one thread per unit of `y`; the listed units lie inside a row (asserted when the list was made), and the
    // buffers have as many rows (asserted).
    unsafe { cuda.launch(&CHANNELS, "gather_channels", Grid::over(rows * list.len()), &args) }
}

/// The gradient of [`gather_forward`]: adds up what was read of each channel, in the order of the list.
pub fn gather_input_grad(
    cuda: &Cuda,
    gather: &GatherList,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    let GatherList { width, channels, .. } = gather;
    let (rows, dtype) = (dx.len() / width, dx.dtype());
    assert_eq!((dx.len(), dy.len(), dy.dtype()), (rows * width, rows * channels.len(), dtype));
    assert_ne!(dtype, Dtype::U32, "floating point");
    let mut places: Vec<u32> = (0..channels.len() as u32).collect();
    // A stable sort keeps the order of the list.
    places.sort_by_key(|&place| channels[place as usize]);
    let sorted: Vec<u32> = places.iter().map(|&place| channels[place as usize]).collect();
    let starts: Vec<u32> =
        (0..=*width as u32).map(|channel| sorted.partition_point(|&c| c < channel) as u32).collect();
    let (starts, places) = (cuda.upload_u32(&starts)?, cuda.upload_u32(&places)?);
    let args = [
        Arg::Int(dtype as i32),
        Arg::from(rows as u64),
        channels.len().into(),
        (&starts).into(),
        (&places).into(),
        dy.into(),
        (*width).into(),
        dx.into(),
    ];
    // SAFETY: one thread per element of `dx`; the places lie inside a row of `dy`, and the buffers have as many rows
    // (asserted).
    unsafe { cuda.launch(&CHANNELS, "gather_input_grad", Grid::over(dx.len()), &args) }
}
