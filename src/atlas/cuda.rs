//! Computations on a GPU.

use super::computation::{Computation, median_of};
use super::layer::Operation;
use super::problem::Problem;
use lopper_engine::Result;
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer, Epilogue, PackedConv2d, Timer};
use lopper_kernels::params::Dtype;
use lopper_kernels::shapes::Conv2d;
use std::time::Duration;

/// A convolution packed for a GPU, in single precision.
pub(super) struct OnCuda<'a> {
    cuda: &'a Cuda,
    g: Conv2d,
    packed: PackedConv2d,
    x: DeviceBuffer,
    bias: DeviceBuffer,
    y: DeviceBuffer,
    timer: Timer,
}

impl<'a> OnCuda<'a> {
    /// Uploads the layer; `None` for a linear layer, for which a GPU has no kernel that skips anything.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    pub(super) fn new(cuda: &'a Cuda, problem: &Problem) -> Result<Option<Self>> {
        let Operation::Conv2d(g) = problem.operation else { return Ok(None) };
        let packed = match &problem.compact {
            None => PackedConv2d::masked(cuda, &g, &problem.w, &problem.pattern)?,
            Some(index) => PackedConv2d::compact(cuda, &g, index, &problem.w, &problem.bias)?,
        };
        let (x, bias) = (cuda.upload(&problem.x)?, cuda.upload(&problem.bias)?);
        let (y, timer) = (cuda.buffer(Dtype::F32, g.y_len())?, Timer::new(cuda)?);
        Ok(Some(Self { cuda, g, packed, x, bias, y, timer }))
    }
}

impl Computation for OnCuda<'_> {
    fn kernel(&self) -> &'static str {
        self.packed.kernel(Dtype::F32)
    }

    fn products(&self) -> u64 {
        self.packed.products(&self.g)
    }

    fn bytes(&self) -> usize {
        self.packed.bytes()
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        let Self { cuda, g, packed, x, bias, y, .. } = self;
        let end = Epilogue { bias: Some(&*bias), ..Default::default() };
        cuda::conv2d_forward_packed(cuda, g, x, packed, &end, y)?;
        Ok(cuda.download(y)?)
    }

    fn sample(&mut self, time: Duration) -> Result<f64> {
        let Self { cuda, g, packed, x, bias, y, timer } = self;
        let end = Epilogue { bias: Some(&*bias), ..Default::default() };
        let mut run = |calls: u32| -> Result<f64> {
            let call = |_| cuda::conv2d_forward_packed(cuda, g, x, packed, &end, y);
            let elapsed = timer.time(|| (0..calls).try_for_each(call))?;
            Ok(elapsed.as_secs_f64() / f64::from(calls))
        };
        // Enough calls for the timer's resolution, about half a microsecond.
        let once = run(1)?;
        let calls = if cuda.is_emulated() { 1 } else { (1e-4 / once.max(1e-6)).ceil() as u32 };
        median_of(time, || run(calls))
    }
}
