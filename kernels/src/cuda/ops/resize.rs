//! Resizing of images. The buffers of one call share one floating-point type.

use super::columns::lanes;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::RESIZE;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;
use crate::shapes::{Coordinates, Resize, ResizeMode, Rounding};
use bytemuck::NoUninit;

/// `y[n, i, j, c] = Σ rows[i, p]·cols[j, q]·x[n, p, q, c]`.
pub fn resize_forward(cuda: &Cuda, g: &Resize, x: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    assert_eq!((x.len(), y.len(), x.dtype()), (g.x_len(), g.y_len(), y.dtype()));
    launch(cuda, g, "resize_forward", x, y)
}

/// The gradient of [`resize_forward`].
pub fn resize_input_grad(cuda: &Cuda, g: &Resize, dy: &DeviceBuffer, dx: &mut DeviceBuffer) -> Result<()> {
    assert_eq!((dx.len(), dy.len(), dx.dtype()), (g.x_len(), g.y_len(), dy.dtype()));
    launch(cuda, g, "resize_input_grad", dy, dx)
}

fn launch(
    cuda: &Cuda,
    g: &Resize,
    kernel: &'static str,
    from: &DeviceBuffer,
    to: &mut DeviceBuffer,
) -> Result<()> {
    let (dtype, geometry) = (to.dtype(), [ResizeArg::of(g)]);
    assert_ne!(dtype, Dtype::U32, "floating point");
    let grid = Grid::over(to.len() / lanes(g.c, dtype));
    let args = [Arg::Int(dtype as i32), (&geometry).into(), from.into(), to.into()];
    // SAFETY: a thread for each piece of `to`; the buffers are the geometry's images (asserted by the callers), and the
    // rows that a thread reads lie inside them.
    unsafe { cuda.launch(&RESIZE, kernel, grid, &args) }
}

/// `Axis` in `resize.cu`.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Axis {
    size: u32,
    out: u32,
    mode: i32,
    coordinates: i32,
    rounding: i32,
    stride: u32,
}

/// `Resize` in `resize.cu`.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct ResizeArg {
    n: u32,
    c: u32,
    rows: Axis,
    cols: Axis,
}

impl ResizeArg {
    fn of(g: &Resize) -> Self {
        Self {
            n: int(g.n),
            c: int(g.c),
            rows: Axis::of(g.mode, 0, [g.h, g.oh]),
            cols: Axis::of(g.mode, 1, [g.w, g.ow]),
        }
    }
}

impl Axis {
    fn of(mode: ResizeMode, axis: usize, [size, out]: [usize; 2]) -> Self {
        let coordinates_of = |coordinates| match coordinates {
            Coordinates::HalfPixel => 0,
            Coordinates::Asymmetric => 1,
            Coordinates::AlignCorners => 2,
        };
        let rounding_of = |rounding| match rounding {
            Rounding::Floor => 0,
            Rounding::Ceil => 1,
            Rounding::HalfDown => 2,
            Rounding::HalfUp => 3,
        };
        let (mode, coordinates, rounding, stride) = match mode {
            ResizeMode::Nearest(coordinates, rounding) => {
                (0, coordinates_of(coordinates), rounding_of(rounding), 1)
            }
            ResizeMode::Linear(coordinates) => (1, coordinates_of(coordinates), 0, 1),
            ResizeMode::Stuff(stride) => (2, 0, 0, stride[axis]),
        };
        Self { size: int(size), out: int(out), mode, coordinates, rounding, stride: int(stride) }
    }
}

fn int(size: usize) -> u32 {
    u32::try_from(size).expect("a size below 2³²")
}
