//! Softmax of each row of `x` `[rows, k]` and its logarithm, and their gradients. All matrices of a call share one
//! floating-point type.

use super::affine::images;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::SOFTMAX;
use crate::cuda::{Cuda, DeviceBuffer};

/// `y = exp(x) / Σ_row exp(x)`.
pub fn softmax_forward(
    cuda: &Cuda,
    rows: usize,
    k: usize,
    x: &DeviceBuffer,
    y: &mut DeviceBuffer,
) -> Result<()> {
    over_rows(cuda, "softmax_forward", [rows, k], &[x], y)
}

/// `y = x − ln Σ_row exp(x)`.
pub fn log_softmax_forward(
    cuda: &Cuda,
    rows: usize,
    k: usize,
    x: &DeviceBuffer,
    y: &mut DeviceBuffer,
) -> Result<()> {
    over_rows(cuda, "log_softmax_forward", [rows, k], &[x], y)
}

/// The gradient of [`softmax_forward`], whose output is `y`: `dx = y · (dy − Σ_row dy·y)`.
pub fn softmax_input_grad(
    cuda: &Cuda,
    [rows, k]: [usize; 2],
    y: &DeviceBuffer,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    over_rows(cuda, "softmax_input_grad", [rows, k], &[y, dy], dx)
}

/// The gradient of [`log_softmax_forward`], whose output is `y`: `dx = dy − exp(y) · Σ_row dy`.
pub fn log_softmax_input_grad(
    cuda: &Cuda,
    [rows, k]: [usize; 2],
    y: &DeviceBuffer,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    over_rows(cuda, "log_softmax_input_grad", [rows, k], &[y, dy], dx)
}

/// Runs a kernel of `softmax.cu`, which reads the matrices `inputs` and writes `output`.
fn over_rows(
    cuda: &Cuda,
    kernel: &'static str,
    [rows, k]: [usize; 2],
    inputs: &[&DeviceBuffer],
    output: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = images(rows * k, &[&[&*output], inputs].concat());
    let mut args = vec![Arg::Int(dtype as i32), Arg::from(rows as u64), k.into()];
    args.extend(inputs.iter().map(|&input| Arg::from(input)));
    args.push(output.into());
    // SAFETY: a warp for each row, and every matrix is `[rows, k]` of this type (asserted).
    unsafe { cuda.launch(&SOFTMAX, kernel, Grid::over(32 * rows), &args) }
}
