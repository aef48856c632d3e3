//! Losses over `[rows, k]` in F32, averaged over rows, and their gradients, multiplied by the upstream
//! gradient `scale`. Losses and upstream gradients are single numbers on the device, so that no call waits for them.

use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::LOSS;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;

/// Cross entropy against the target classes, U32 `[rows]`, with label smoothing (Szegedy et al. 2016):
/// `−1/rows · Σ_row Σ_j q_j · log_softmax(logits)_j` with `q = (1 − smoothing)·onehot(target) + smoothing/k`. A
/// target outside the classes makes the loss and the row's gradient NaN.
pub fn cross_entropy_forward(
    cuda: &Cuda,
    [rows, k]: [usize; 2],
    logits: &DeviceBuffer,
    targets: &DeviceBuffer,
    smoothing: f32,
    loss: &mut DeviceBuffer,
) -> Result<()> {
    floats(&[(logits, rows * k)]);
    assert_eq!((targets.dtype(), targets.len()), (Dtype::U32, rows), "one class per row");
    let mut losses = cuda.buffer(Dtype::F32, rows)?;
    let args = [logits.into(), targets.into(), smoothing.into(), (&mut losses).into()];
    // SAFETY: `logits` is `[rows, k]`, the rest `[rows]` (asserted).
    unsafe { over_rows(cuda, "cross_entropy_rows", rows, k, &args) }?;
    mean(cuda, &losses, rows, loss)
}

/// `dlogits = scale/rows · (softmax(logits) − q)`.
pub fn cross_entropy_input_grad(
    cuda: &Cuda,
    [rows, k]: [usize; 2],
    logits: &DeviceBuffer,
    targets: &DeviceBuffer,
    smoothing: f32,
    scale: &DeviceBuffer,
    dlogits: &mut DeviceBuffer,
) -> Result<()> {
    floats(&[(logits, rows * k), (dlogits, rows * k), (scale, 1)]);
    assert_eq!((targets.dtype(), targets.len()), (Dtype::U32, rows), "one class per row");
    let args = [logits.into(), targets.into(), smoothing.into(), scale.into(), dlogits.into()];
    // SAFETY: matrices are `[rows, k]`, targets are `[rows]`, and `scale` is one number (asserted).
    unsafe { over_rows(cuda, "cross_entropy_input_grad", rows, k, &args) }
}

/// Distillation with soft targets (Hinton et al. 2015): `T² · mean_row KL(p ‖ q)` with `p = softmax(teacher/T)` and
/// `q = softmax(student/T)`.
pub fn kl_divergence_forward(
    cuda: &Cuda,
    [rows, k]: [usize; 2],
    student: &DeviceBuffer,
    teacher: &DeviceBuffer,
    temperature: f32,
    loss: &mut DeviceBuffer,
) -> Result<()> {
    floats(&[(student, rows * k), (teacher, rows * k)]);
    let mut losses = cuda.buffer(Dtype::F32, rows)?;
    let args = [student.into(), teacher.into(), temperature.into(), (&mut losses).into()];
    // SAFETY: the matrices are `[rows, k]` (asserted) and `losses` is `[rows]`.
    unsafe { over_rows(cuda, "kl_divergence_rows", rows, k, &args) }?;
    mean(cuda, &losses, rows, loss)
}

/// `dstudent = scale · T/rows · (q − p)`.
pub fn kl_divergence_input_grad(
    cuda: &Cuda,
    [rows, k]: [usize; 2],
    student: &DeviceBuffer,
    teacher: &DeviceBuffer,
    temperature: f32,
    scale: &DeviceBuffer,
    dstudent: &mut DeviceBuffer,
) -> Result<()> {
    floats(&[(student, rows * k), (teacher, rows * k), (dstudent, rows * k), (scale, 1)]);
    let args = [student.into(), teacher.into(), temperature.into(), scale.into(), dstudent.into()];
    // SAFETY: the matrices are `[rows, k]` and `scale` is one number (asserted).
    unsafe { over_rows(cuda, "kl_divergence_input_grad", rows, k, &args) }
}

/// The mean of `(a − b)²` over all elements.
pub fn mse_forward(cuda: &Cuda, a: &DeviceBuffer, b: &DeviceBuffer, loss: &mut DeviceBuffer) -> Result<()> {
    floats(&[(a, b.len()), (b, a.len())]);
    let n = a.len();
    // Sixteen elements per thread, and at most enough blocks to fill a large device twice.
    let grid = Grid::of(n.div_ceil(256 * 16).min(1024), 256).shared(256 * size_of::<f32>());
    let mut partials = cuda.buffer(Dtype::F32, grid.blocks[0])?;
    let args = [Arg::from(n as u64), a.into(), b.into(), (&mut partials).into()];
    // SAFETY: `a` and `b` have `n` elements (asserted), `partials` has one per block.
    unsafe { cuda.launch(&LOSS, "mse_partials", grid, &args) }?;
    mean(cuda, &partials, n, loss)
}

/// `da = scale · 2/len · (a − b)`.
pub fn mse_input_grad(
    cuda: &Cuda,
    a: &DeviceBuffer,
    b: &DeviceBuffer,
    scale: &DeviceBuffer,
    da: &mut DeviceBuffer,
) -> Result<()> {
    let n = da.len();
    floats(&[(a, n), (b, n), (da, n), (scale, 1)]);
    let args = [Arg::from(n as u64), a.into(), b.into(), scale.into(), da.into()];
    // SAFETY: one thread for each of the `n` elements, which all three have (asserted).
    unsafe { cuda.launch(&LOSS, "mse_input_grad", Grid::over(n), &args) }
}

/// Runs a kernel that assigns a warp to each row of `[rows, k]`.
///
/// # Safety
/// The buffers in `args` must match what the kernel reads.
unsafe fn over_rows(cuda: &Cuda, kernel: &'static str, rows: usize, k: usize, args: &[Arg]) -> Result<()> {
    let args = [&[Arg::from(rows as u64), k.into()], args].concat();
    // SAFETY: the caller's guarantee; rows beyond the last return at once.
    unsafe { cuda.launch(&LOSS, kernel, Grid::over(rows * 32), &args) }
}

/// `loss = Σ terms / divisor`.
fn mean(cuda: &Cuda, terms: &DeviceBuffer, divisor: usize, loss: &mut DeviceBuffer) -> Result<()> {
    floats(&[(loss, 1)]);
    let args = [Arg::from(terms.len() as u64), Arg::from(divisor as u64), terms.into(), loss.into()];
    let grid = Grid::of(1, 1024).shared(1024 * size_of::<f64>());
    // SAFETY: one block, which reads the existing terms and writes the one number of `loss` (asserted).
    unsafe { cuda.launch(&LOSS, "mean_of_terms", grid, &args) }
}

/// Asserts that each buffer is F32 of the given length.
fn floats(buffers: &[(&DeviceBuffer, usize)]) {
    for (buffer, len) in buffers {
        assert_eq!((buffer.dtype(), buffer.len()), (Dtype::F32, *len));
    }
}
