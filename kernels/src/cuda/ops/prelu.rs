//! The rectifier with a learned slope for each channel. Images share one floating-point type; slopes are F32.

use super::columns::{self, Columns};
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::Arg;
use crate::cuda::driver::source::{PRELU, REDUCE};
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;

/// Rows of a thread that maps, and of one that sums.
const STEPS: [usize; 2] = [8, 16];

/// `y = x` where `x` is positive, otherwise `slope·x`; `slope` is `[c]`.
pub fn prelu_forward(
    cuda: &Cuda,
    c: usize,
    x: &DeviceBuffer,
    slope: &DeviceBuffer,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = images(c, [x, y, y], slope);
    let g = [Columns::new(x.len() / c, c, dtype, STEPS[0])];
    let args = [Arg::Int(dtype as i32), (&g).into(), x.into(), slope.into(), y.into()];
    // SAFETY: images are `[rows, c]` of one type and slopes `[c]` (asserted); the geometry covers each element once.
    unsafe { cuda.launch(&PRELU, "prelu_forward", g[0].grid(dtype, 0), &args) }
}

/// The gradients of [`prelu_forward`]: of `x`, and of the slopes, `dslope = Σ dy·x` over the rows where `x` is not positive.
pub fn prelu_backward(
    cuda: &Cuda,
    c: usize,
    x: &DeviceBuffer,
    slope: &DeviceBuffer,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
    dslope: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = images(c, [x, dy, dx], slope);
    assert_eq!((dslope.dtype(), dslope.len()), (Dtype::F32, c));
    let (kind, rows) = (Arg::Int(dtype as i32), x.len() / c);
    let g = [Columns::new(rows, c, dtype, STEPS[0])];
    let args = [kind, (&g).into(), x.into(), slope.into(), dy.into(), dx.into()];
    // SAFETY: images are `[rows, c]` of one type and slopes `[c]` (asserted); the geometry covers each element once.
    unsafe { cuda.launch(&PRELU, "prelu_input_grad", g[0].grid(dtype, 0), &args) }?;
    let g = [Columns::new(rows, c, dtype, STEPS[1])];
    let mut partials = g[0].partials(cuda, 1)?;
    let args = [kind, (&g).into(), x.into(), dy.into(), (&mut partials).into()];
    // SAFETY: as above; `partials` has one sum per part and channel of the geometry.
    unsafe { cuda.launch(&PRELU, "prelu_slope_partials", g[0].grid(dtype, 1), &args) }?;
    let (grid, across) = columns::fold(c);
    let parts = Arg::from(g[0].parts() as u64);
    let args = [c.into(), parts, across.into(), (&partials).into(), dslope.into()];
    // SAFETY: as above; threads beyond `c` write nothing.
    unsafe { cuda.launch(&REDUCE, "sum_rows_finish", grid, &args) }
}

/// Asserts that the images are `[rows, c]` of one floating-point type and the slopes F32 `[c]`, and returns the type.
fn images(c: usize, buffers: [&DeviceBuffer; 3], slope: &DeviceBuffer) -> Dtype {
    let (dtype, len) = (buffers[0].dtype(), buffers[0].len());
    assert_ne!(dtype, Dtype::U32, "floating point");
    assert!(
        len.is_multiple_of(c) && buffers.iter().all(|x| (x.dtype(), x.len()) == (dtype, len)),
        "all are [rows, c] of one type"
    );
    assert_eq!((slope.dtype(), slope.len()), (Dtype::F32, c));
    dtype
}
