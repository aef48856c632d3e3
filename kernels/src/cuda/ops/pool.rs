//! Maximum and average pooling over fixed or adaptive windows, and their gradients. `x` is `[N, H, W, C]`, `y` is
//! `[N, OH, OW, C]`; the buffers of one call share one floating-point type.

use super::columns::lanes;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::POOL;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;
use crate::pool_windows::PoolWindows;
use crate::shapes::{AdaptivePool2d, Pool2d};
use bytemuck::NoUninit;

/// The largest value of each window, ignoring padding.
pub fn max_pool2d_forward(cuda: &Cuda, g: &Pool2d, x: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    PoolingArg::fixed(g).forward(cuda, "max_pool_forward", g, x, y)
}

/// Passes each gradient to the largest pixel of its window; ties go to the first.
pub fn max_pool2d_input_grad(
    cuda: &Cuda,
    g: &Pool2d,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    PoolingArg::fixed(g).input_grad(cuda, "max_pool_input_grad", g, Some(x), dy, dx)
}

/// The mean of each window. With `count_include_pad`, padding counts as zeros.
pub fn avg_pool2d_forward(cuda: &Cuda, g: &Pool2d, x: &DeviceBuffer, y: &mut DeviceBuffer) -> Result<()> {
    PoolingArg::fixed(g).forward(cuda, "avg_pool_forward", g, x, y)
}

/// Spreads each gradient evenly over its window.
pub fn avg_pool2d_input_grad(
    cuda: &Cuda,
    g: &Pool2d,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    PoolingArg::fixed(g).input_grad(cuda, "avg_pool_input_grad", g, None, dy, dx)
}

/// The largest value of each window.
pub fn adaptive_max_pool2d_forward(
    cuda: &Cuda,
    g: &AdaptivePool2d,
    x: &DeviceBuffer,
    y: &mut DeviceBuffer,
) -> Result<()> {
    PoolingArg::adaptive(g).forward(cuda, "max_pool_forward", g, x, y)
}

/// Passes each gradient to the largest pixel of its window; ties go to the first.
pub fn adaptive_max_pool2d_input_grad(
    cuda: &Cuda,
    g: &AdaptivePool2d,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    PoolingArg::adaptive(g).input_grad(cuda, "max_pool_input_grad", g, Some(x), dy, dx)
}

/// The mean of each window.
pub fn adaptive_avg_pool2d_forward(
    cuda: &Cuda,
    g: &AdaptivePool2d,
    x: &DeviceBuffer,
    y: &mut DeviceBuffer,
) -> Result<()> {
    PoolingArg::adaptive(g).forward(cuda, "avg_pool_forward", g, x, y)
}

/// Spreads each gradient evenly over its window.
pub fn adaptive_avg_pool2d_input_grad(
    cuda: &Cuda,
    g: &AdaptivePool2d,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    PoolingArg::adaptive(g).input_grad(cuda, "avg_pool_input_grad", g, None, dy, dx)
}

/// One axis of a pooling (`Axis` in `pool.cu`): adaptive if `kernel` is 0.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Axis {
    input: u32,
    output: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
}

/// A pooling (`PoolingArg` in `pool.cu`).
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct PoolingArg {
    n: u32,
    c: u32,
    rows: Axis,
    cols: Axis,
    count_padding: u32,
}

impl PoolingArg {
    fn fixed(g: &Pool2d) -> Self {
        let axis = |i: usize| Axis {
            kernel: int(g.kernel[i]),
            stride: int(g.stride[i]),
            padding: int(g.padding[i]),
            ..Axis::of(g, i)
        };
        Self {
            n: int(g.n),
            c: int(g.c),
            rows: axis(0),
            cols: axis(1),
            count_padding: g.count_include_pad.into(),
        }
    }

    fn adaptive(g: &AdaptivePool2d) -> Self {
        Self { n: int(g.n), c: int(g.c), rows: Axis::of(g, 0), cols: Axis::of(g, 1), count_padding: 0 }
    }

    fn forward(
        self,
        cuda: &Cuda,
        kernel: &'static str,
        g: &impl PoolWindows,
        x: &DeviceBuffer,
        y: &mut DeviceBuffer,
    ) -> Result<()> {
        assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
        self.launch(cuda, kernel, &[x], y)
    }

    /// Runs a gradient kernel; `x` is given if the gradient needs it.
    fn input_grad(
        self,
        cuda: &Cuda,
        kernel: &'static str,
        g: &impl PoolWindows,
        x: Option<&DeviceBuffer>,
        dy: &DeviceBuffer,
        dx: &mut DeviceBuffer,
    ) -> Result<()> {
        assert_eq!((x.unwrap_or(dx).len(), dy.len(), dx.len()), (g.x_len(), g.y_len(), g.x_len()));
        let inputs: Vec<_> = x.into_iter().chain([dy]).collect();
        self.launch(cuda, kernel, &inputs, dx)
    }

    fn launch(
        self,
        cuda: &Cuda,
        kernel: &'static str,
        inputs: &[&DeviceBuffer],
        out: &mut DeviceBuffer,
    ) -> Result<()> {
        let dtype = out.dtype();
        assert!(
            dtype != Dtype::U32 && inputs.iter().all(|x| x.dtype() == dtype),
            "the buffers share one floating-point type"
        );
        let grid = Grid::over(out.len() / lanes(self.c as usize, dtype));
        let geometry = [self];
        let mut args = vec![Arg::Int(dtype as i32), (&geometry).into()];
        args.extend(inputs.iter().map(|&x| Arg::from(x)));
        args.push(out.into());
        // SAFETY: the buffers have the elements of the geometry's images (asserted by the callers), and the kernels
        // clip every window to them.
        unsafe { cuda.launch(&POOL, kernel, grid, &args) }
    }
}

impl Axis {
    /// The adaptive axis of `g`: 0 for rows, 1 for columns.
    fn of(g: &impl PoolWindows, axis: usize) -> Self {
        let (input, output) = (int(g.x_shape()[1 + axis]), int(g.y_shape()[1 + axis]));
        // The kernels multiply the sizes and add one of them.
        assert!(
            int(g.x_shape()[1 + axis] * g.y_shape()[1 + axis]) < u32::MAX / 2,
            "the image is too large for the kernel's integers"
        );
        Self { input, output, kernel: 0, stride: 0, padding: 0 }
    }
}

fn int(size: usize) -> u32 {
    u32::try_from(size).expect("a size below 2³²")
}
