//! Products with few tiles and a long k: the multiprocessors share k, and their partial sums are added afterwards.

use super::output::Output;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::GEMM_MMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::Dtype;

/// The division of k into `count` slices of `len` elements; the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slices {
    pub count: usize,
    /// A multiple of the step.
    pub len: usize,
}

impl Slices {
    /// Elements of k that a tile processes per step.
    pub fn step(dtype: Dtype) -> usize {
        64 / dtype.bytes()
    }

    /// At most `count` slices of equal length.
    pub fn at_most(count: usize, k: usize, dtype: Dtype) -> Self {
        let step = Self::step(dtype);
        let len = k.div_ceil(step).div_ceil(count).max(1) * step;
        Self { count: k.div_ceil(len).max(1), len }
    }

    /// Enough slices that a product of `blocks` tiles gives every multiprocessor two blocks, but none shorter than
    /// eight steps.
    pub fn filling(cuda: &Cuda, blocks: usize, k: usize, dtype: Dtype) -> Self {
        let steps = k.div_ceil(Self::step(dtype));
        // A mask may leave no block.
        let wanted = (2 * cuda.multiprocessors()).div_ceil(blocks.max(1));
        Self::at_most(wanted.min(steps / 8).max(1), k, dtype)
    }
}

/// Runs `launch` with its output and epilogue. With one slice these are `output` to `y` and `epilogue`; with several,
/// each slice gets a buffer of f32 sums, which are then added in order, passed through the epilogue and written to
/// `y`.
pub(super) fn sum_slices(
    cuda: &Cuda,
    slices: usize,
    output: Output,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
    launch: impl FnOnce(Output, &Epilogue, &mut DeviceBuffer) -> Result<()>,
) -> Result<()> {
    if slices == 1 {
        return launch(output, epilogue, y);
    }
    let n = output.rows as usize * output.columns as usize;
    let mut sums = cuda.buffer(Dtype::F32, slices * n)?;
    launch(output.of_sums(&sums), &Epilogue::default(), &mut sums)?;
    let (dtype, output) = (Arg::Int(y.dtype() as i32), [output]);
    let args = [
        dtype,
        (&output).into(),
        slices.into(),
        (&sums).into(),
        epilogue.bias.into(),
        epilogue.residual.into(),
        y.into(),
    ];
    // SAFETY: a thread accesses element `i < n` of each slice, and `sums` holds `slices` of them; it accesses the
    // element of y and of the residual at the position that `output` gives it; its column indexes the bias.
    unsafe { cuda.launch(&GEMM_MMA, "gemm_mma_add_slices", Grid::over(n), &args) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_whole_steps_that_cover_k() {
        for (count, k) in [(1, 0), (1, 7), (4, 33), (5, 4608), (200, 100)] {
            let slices = Slices::at_most(count, k, Dtype::Bf16);
            assert!(slices.count <= count && slices.len.is_multiple_of(32), "{slices:?}");
            assert!(
                (slices.count - 1) * slices.len < k.max(1) && slices.count * slices.len >= k,
                "{slices:?}"
            );
        }
    }
}
