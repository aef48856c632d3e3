//! Sums in a fixed order, which gives the same bits in every run.

use super::columns::{self, Columns};
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::Arg;
use crate::cuda::driver::source::REDUCE;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;

/// Rows that a thread sums.
const STEPS: usize = 16;

/// `out[c] = Σ_row x[row, c]` for `x` `[rows, c]` of any floating-point type: the gradient of a bias, in F32.
pub fn sum_rows(cuda: &Cuda, rows: usize, c: usize, x: &DeviceBuffer, out: &mut DeviceBuffer) -> Result<()> {
    assert_eq!((x.len(), out.len(), out.dtype()), (rows * c, c, Dtype::F32));
    assert_ne!(x.dtype(), Dtype::U32, "floating point");
    let g = [Columns::new(rows, c, x.dtype(), STEPS)];
    let mut partials = g[0].partials(cuda, 1)?;
    let args = [Arg::Int(x.dtype() as i32), (&g).into(), x.into(), (&mut partials).into()];
    // SAFETY: `x` is `[rows, c]` (asserted), and `partials` has one sum per part and channel of the geometry.
    unsafe { cuda.launch(&REDUCE, "sum_rows_partials", g[0].grid(x.dtype(), 1), &args) }?;
    let (grid, across) = columns::fold(c);
    let parts = Arg::from(g[0].parts() as u64);
    let args = [c.into(), parts, across.into(), (&partials).into(), out.into()];
    // SAFETY: as above; `out` is `[c]` (asserted), and threads beyond `c` write nothing.
    unsafe { cuda.launch(&REDUCE, "sum_rows_finish", grid, &args) }
}
