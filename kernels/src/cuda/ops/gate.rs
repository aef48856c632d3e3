//! Products with a gate `[N, C]`, one factor for each channel of each image. The buffers of one call share one
//! floating-point type.

use super::columns::lanes;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::GATE;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;
use crate::shapes::Gate;
use bytemuck::NoUninit;

/// `y[n, p, c] = x[n, p, c]·gate[n, c]`.
pub fn gate_forward(
    cuda: &Cuda,
    g: &Gate,
    x: &DeviceBuffer,
    gate: &DeviceBuffer,
    y: &mut DeviceBuffer,
) -> Result<()> {
    assert_eq!((x.len(), gate.len(), y.len()), (g.x_len(), g.gate_len(), g.x_len()));
    let (dtype, geometry) = (one_type([x, gate, y]), [GateArg::of(g)]);
    let args = [Arg::Int(dtype as i32), (&geometry).into(), x.into(), gate.into(), y.into()];
    // SAFETY: a thread for each piece of `x`; the buffers have the elements of the geometry (asserted).
    unsafe { cuda.launch(&GATE, "gate_forward", Grid::over(y.len() / lanes(g.c, dtype)), &args) }
}

/// The gradient of the gate, `dgate[n, c] = Σ_p dy[n, p, c]·x[n, p, c]`. That of `x` is [`gate_forward`] of `dy`.
pub fn gate_grad(
    cuda: &Cuda,
    g: &Gate,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dgate: &mut DeviceBuffer,
) -> Result<()> {
    assert_eq!((x.len(), dgate.len(), dy.len()), (g.x_len(), g.gate_len(), g.x_len()));
    let (dtype, geometry) = (one_type([x, dy, dgate]), [GateArg::of(g)]);
    let lanes = lanes(g.c, dtype);
    let grid = Grid::of(g.n, 256).shared(lanes * 256 * size_of::<f32>());
    let grid = Grid { blocks: [g.n, (g.c / lanes).div_ceil(32), 1], ..grid };
    let args = [Arg::Int(dtype as i32), (&geometry).into(), x.into(), dy.into(), dgate.into()];
    // SAFETY: a block for each image and 32 pieces of channels; the buffers have the elements of the geometry (asserted),
    // and threads beyond the channels access nothing.
    unsafe { cuda.launch(&GATE, "gate_grad", grid, &args) }
}

/// Asserts that the buffers have one floating-point type, and returns it.
fn one_type(buffers: [&DeviceBuffer; 3]) -> Dtype {
    let dtype = buffers[0].dtype();
    assert!(
        dtype != Dtype::U32 && buffers.iter().all(|buffer| buffer.dtype() == dtype),
        "the buffers share one floating-point type"
    );
    dtype
}

/// `Gate` in `gate.cu`.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct GateArg {
    n: u32,
    pixels: u32,
    c: u32,
}

impl GateArg {
    fn of(g: &Gate) -> Self {
        let [n, pixels, c] = [g.n, g.pixels, g.c].map(|size| u32::try_from(size).expect("a size below 2³²"));
        Self { n, pixels, c }
    }
}
