//! What layer norm and group norm share: images of one type, and a scale and a shift for each channel with their gradients.

use super::columns;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::Arg;
use crate::cuda::driver::source::LAYER_NORM;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;

/// Asserts that all have `len` elements of one floating-point type, and returns the type.
pub(super) fn images(len: usize, buffers: &[&DeviceBuffer]) -> Dtype {
    let dtype = buffers[0].dtype();
    assert_ne!(dtype, Dtype::U32, "floating point");
    assert!(buffers.iter().all(|x| (x.dtype(), x.len()) == (dtype, len)), "all have one shape and one type");
    dtype
}

/// Asserts that all are F32 `[c]`.
pub(super) fn parameters(c: usize, buffers: &[&DeviceBuffer]) {
    assert!(buffers.iter().all(|x| (x.dtype(), x.len()) == (Dtype::F32, c)), "all are F32 [c]");
}

/// Sets the gradients `dgamma` and `dbeta` `[c]` to the sums of `partials` `[parts, 2, c]`.
pub(super) fn sum_gradients(
    cuda: &Cuda,
    c: usize,
    parts: usize,
    partials: &DeviceBuffer,
    [dgamma, dbeta]: [&mut DeviceBuffer; 2],
) -> Result<()> {
    assert!(partials.len() >= 2 * parts * c, "two sums for each part and channel");
    parameters(c, &[dgamma, dbeta]);
    let (grid, across) = columns::fold(c);
    let parts = Arg::from(parts as u64);
    let args = [c.into(), parts, across.into(), partials.into(), dgamma.into(), dbeta.into()];
    // SAFETY: all lengths are asserted above, and threads beyond `c` write nothing.
    unsafe { cuda.launch(&LAYER_NORM, "layer_norm_parameter_finish", grid, &args) }
}
