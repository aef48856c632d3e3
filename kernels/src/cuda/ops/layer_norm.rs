//! Layer normalization of each row of `x` `[rows, C]`. Images share one floating-point type; parameters are F32.

use super::affine::{images, parameters, sum_gradients};
use super::columns::Columns;
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::LAYER_NORM;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;
use crate::shapes::LayerNorm;
use bytemuck::NoUninit;

/// Rows that a thread sums.
const STEPS: usize = 16;

/// `y = gamma·(x − mean)/√(var + eps) + beta`, with the statistics of each row.
pub fn layer_norm_forward(
    cuda: &Cuda,
    g: &LayerNorm,
    x: &DeviceBuffer,
    [gamma, beta]: [&DeviceBuffer; 2],
    y: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = images(g.len(), &[x, y]);
    parameters(g.c, &[gamma, beta]);
    let geometry = [LayerNormArg::of(g)];
    let args = [Arg::Int(dtype as i32), (&geometry).into(), x.into(), gamma.into(), beta.into(), y.into()];
    // SAFETY: a warp for each row; images are `[rows, c]` and parameters `[c]` (asserted).
    unsafe { cuda.launch(&LAYER_NORM, "layer_norm_forward", Grid::over(32 * g.rows), &args) }
}

/// The gradients of [`layer_norm_forward`]:
///
/// `dbeta = Σ dy`, `dgamma = Σ dy·x̂` over the rows; with `g = dy·gamma`, `dx = (g − Σ g/width − x̂·Σ g·x̂/width)/√(var +
/// eps)` over the channels.
pub fn layer_norm_backward(
    cuda: &Cuda,
    g: &LayerNorm,
    x: &DeviceBuffer,
    gamma: &DeviceBuffer,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
    [dgamma, dbeta]: [&mut DeviceBuffer; 2],
) -> Result<()> {
    let dtype = images(g.len(), &[x, dy, dx]);
    parameters(g.c, &[gamma]);
    let mut statistics = cuda.buffer(Dtype::F32, 2 * g.rows)?;
    let (kind, geometry) = (Arg::Int(dtype as i32), [LayerNormArg::of(g)]);
    let args =
        [kind, (&geometry).into(), x.into(), gamma.into(), dy.into(), dx.into(), (&mut statistics).into()];
    // SAFETY: a warp for each row; images are `[rows, c]` and parameters `[c]` (asserted), and there are two statistics a
    // row.
    unsafe { cuda.launch(&LAYER_NORM, "layer_norm_backward", Grid::over(32 * g.rows), &args) }?;
    let columns = [Columns::new(g.rows, g.c, dtype, STEPS)];
    let mut partials = columns[0].partials(cuda, 2)?;
    let args = [kind, (&columns).into(), x.into(), dy.into(), (&statistics).into(), (&mut partials).into()];
    let grid = columns[0].grid(dtype, 2);
    // SAFETY: as above; `partials` has two sums per part and channel of the geometry.
    unsafe { cuda.launch(&LAYER_NORM, "layer_norm_parameter_partials", grid, &args) }?;
    sum_gradients(cuda, g.c, columns[0].parts(), &partials, [dgamma, dbeta])
}

/// `LayerNorm` in `layer_norm.cu`.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct LayerNormArg {
    sum: f64,
    squares: f64,
    rows: u64,
    c: u32,
    width: u32,
    eps: f32,
    unused: u32,
}

impl LayerNormArg {
    fn of(g: &LayerNorm) -> Self {
        let [c, width] = [g.c, g.width].map(|size| u32::try_from(size).expect("fewer than 2³² channels"));
        let LayerNorm { sum, squares, eps, .. } = *g;
        Self { sum, squares, rows: g.rows as u64, c, width, eps, unused: 0 }
    }
}
