//! Elementwise operations. The buffers of one call share one floating-point type, which may be any; only [`convert`]
//! takes two. Arithmetic is f32, and the result is rounded once.

use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::ELEMENTWISE;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;

/// `y = a + b`.
pub fn add_forward(cuda: &Cuda, a: &DeviceBuffer, b: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    map(cuda, "add_forward", &[], [a, b], y)
}

/// `y += x`.
pub fn add_assign(cuda: &Cuda, y: &mut DeviceBuffer, x: &DeviceBuffer) -> Result<()> {
    map(cuda, "add_assign", &[], [x], y)
}

/// `y = s·x`.
pub fn scale(cuda: &Cuda, s: f32, x: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    map(cuda, "scale", &[s.into()], [x], y)
}

/// `y = a·b`, element by element.
pub fn mul_forward(cuda: &Cuda, a: &DeviceBuffer, b: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    map(cuda, "mul_forward", &[], [a, b], y)
}

/// `y += s·x`.
pub fn axpy(cuda: &Cuda, s: f32, x: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    map(cuda, "axpy", &[s.into()], [x], y)
}

/// `y = x` in the type of `y`, rounded to nearest, ties to even.
pub fn convert(cuda: &Cuda, x: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    assert_eq!(x.len(), y.len(), "convert: buffers of the same length");
    assert!(x.dtype() != Dtype::U32 && y.dtype() != Dtype::U32, "convert: floating point");
    let [from, to] = [x.dtype(), y.dtype()].map(|dtype| Arg::Int(dtype as i32));
    let n = y.len();
    // SAFETY: a thread accesses only elements below `n`, which both buffers have (asserted).
    unsafe {
        cuda.launch(
            &ELEMENTWISE,
            "convert",
            Grid::over(n.div_ceil(8)),
            &[from, to, Arg::from(n as u64), x.into(), y.into()],
        )
    }
}

/// Zeroes each element with probability `p` and multiplies the others by `1/(1 − p)`. The gradient is the same call
/// on `dy`. [`keeps`](crate::reference::keeps) chooses the elements.
pub fn dropout(cuda: &Cuda, p: f32, seed: u64, x: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    map(cuda, "dropout", &[p.into(), (1.0 / (1.0 - p)).into(), seed.into()], [x], y)
}

/// Runs a kernel that reads element `i` of each input and writes element `i` of the output.
pub(super) fn map<const N: usize>(
    cuda: &Cuda,
    kernel: &'static str,
    scalars: &[Arg],
    inputs: [&DeviceBuffer; N],
    y: &mut DeviceBuffer,
) -> Result<()> {
    for x in inputs {
        assert_eq!(
            (x.dtype(), x.len()),
            (y.dtype(), y.len()),
            "{kernel}: buffers of the same type and length"
        );
    }
    let (n, dtype) = (y.len(), y.dtype());
    assert_ne!(dtype, Dtype::U32, "{kernel}: floating point");
    let mut args = vec![Arg::Int(dtype as i32), Arg::from(n as u64)];
    args.extend(scalars);
    args.extend(inputs.map(Arg::from));
    args.push(y.into());
    // SAFETY: a thread accesses only elements below `n`, which every buffer has (asserted).
    unsafe { cuda.launch(&ELEMENTWISE, kernel, Grid::over(n.div_ceil(dtype.lanes())), &args) }
}
