//! Operations that treat every element alike. Buffers of one call have one type, whichever it is.

use super::error::Result;
use super::launch::{Arg, Grid};
use super::source::ELEMENTWISE;
use super::{Cuda, DeviceBuffer};

/// `y = max(0, x)`.
pub fn relu_forward(cuda: &Cuda, x: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    map(cuda, "relu_forward", [x], y)
}

/// `dx = dy` where the output `y` is above 0, and 0 elsewhere.
pub fn relu_input_grad(
    cuda: &Cuda,
    y: &DeviceBuffer,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    map(cuda, "relu_input_grad", [y, dy], dx)
}

/// Runs a kernel that reads element `i` of each input and writes element `i` of the output.
fn map<const N: usize>(
    cuda: &Cuda,
    kernel: &'static str,
    inputs: [&DeviceBuffer; N],
    y: &mut DeviceBuffer,
) -> Result<()> {
    for x in inputs {
        assert_eq!((x.dtype(), x.len()), (y.dtype(), y.len()), "{kernel}: buffers of one type and length");
    }
    let (n, dtype) = (y.len(), y.dtype());
    let mut args = vec![Arg::Int(dtype as i32), Arg::from(n as u64)];
    args.extend(inputs.map(Arg::from));
    args.push(y.into());
    // SAFETY: a thread touches only elements below `n`, which every buffer has (asserted).
    unsafe { cuda.launch(&ELEMENTWISE, kernel, Grid::over(n.div_ceil(dtype.lanes())), &args) }
}
