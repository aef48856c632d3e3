//! Group normalization of images `x` `[N, P, C]`, at most 65,535 of them. Images share one floating-point type; parameters are
//! F32.

use super::affine::{images, parameters, sum_gradients};
use super::columns::{self, Columns};
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::GROUP_NORM;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;
use crate::shapes::GroupNorm;
use bytemuck::NoUninit;

/// Pixels that a thread sums.
const SUM_STEPS: usize = 16;

/// Pixels that a thread maps: enough to amortize loading the channel parameters.
const MAP_STEPS: usize = 8;

/// `y = gamma·(x − mean)/√(var + eps) + beta`, with the statistics of each image and group.
pub fn group_norm_forward(
    cuda: &Cuda,
    g: &GroupNorm,
    x: &DeviceBuffer,
    [gamma, beta]: [&DeviceBuffer; 2],
    y: &mut DeviceBuffer,
) -> Result<()> {
    let dtype = images(g.len(), &[x, y]);
    parameters(g.c, &[gamma, beta]);
    let statistics = statistics(cuda, g, x, dtype)?;
    let map = Matrix::new(g, dtype, MAP_STEPS);
    let args = [
        Arg::Int(dtype as i32),
        (&map.columns).into(),
        (&map.norm).into(),
        x.into(),
        (&statistics).into(),
        gamma.into(),
        beta.into(),
        y.into(),
    ];
    // SAFETY: images are `[n, pixels, c]` and parameters `[c]` (asserted); the geometry covers each element once.
    unsafe { cuda.launch(&GROUP_NORM, "group_norm_apply", map.grid(dtype, 0), &args) }
}

/// The mean, what rounding added to it, and 1/√(var + eps) of each image and group, `[n, groups, 3]`.
fn statistics(cuda: &Cuda, g: &GroupNorm, x: &DeviceBuffer, dtype: Dtype) -> Result<DeviceBuffer> {
    let sums = Matrix::new(g, dtype, SUM_STEPS);
    let mut partials = cuda.buffer(Dtype::F32, sums.partials_len())?;
    let mut statistics = cuda.buffer(Dtype::F32, 3 * g.n * g.groups)?;
    let head = [Arg::Int(dtype as i32), (&sums.columns).into(), (&sums.norm).into(), x.into()];
    let args = [&head[..], &[(&mut partials).into()]].concat();
    // SAFETY: `x` is `[n, pixels, c]` (asserted by the callers), and there are two sums per image, part and channel.
    unsafe { cuda.launch(&GROUP_NORM, "group_norm_partials", sums.grid(dtype, 2), &args) }?;
    let args = [&head[..], &[(&partials).into(), (&mut statistics).into()]].concat();
    // SAFETY: as above; a block for each image and group, which have three statistics.
    unsafe { cuda.launch(&GROUP_NORM, "group_norm_statistics", of_groups(g), &args) }?;
    Ok(statistics)
}

/// The gradients of [`group_norm_forward`]:
///
/// `dbeta = Σ dy`, `dgamma = Σ dy·x̂` over images and pixels; with `g = dy·gamma` and M numbers in a group, `dx = (g − Σ g/M −
/// x̂·Σ g·x̂/M)/√(var + eps)` over the group.
pub fn group_norm_backward(
    cuda: &Cuda,
    g: &GroupNorm,
    x: &DeviceBuffer,
    gamma: &DeviceBuffer,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
    [dgamma, dbeta]: [&mut DeviceBuffer; 2],
) -> Result<()> {
    let dtype = images(g.len(), &[x, dy, dx]);
    parameters(g.c, &[gamma]);
    let statistics = statistics(cuda, g, x, dtype)?;
    let (kind, sums, map) =
        (Arg::Int(dtype as i32), Matrix::new(g, dtype, SUM_STEPS), Matrix::new(g, dtype, MAP_STEPS));
    let mut partials = cuda.buffer(Dtype::F32, sums.partials_len())?;
    let mut terms = cuda.buffer(Dtype::F32, 2 * g.n * g.groups)?;
    let (columns, norm) = (Arg::from(&sums.columns), Arg::from(&sums.norm));
    let args = [kind, columns, norm, x.into(), dy.into(), (&statistics).into(), (&mut partials).into()];
    // SAFETY: images are `[n, pixels, c]` (asserted); there are three statistics of each image and group, and two sums per
    // image, part and channel.
    unsafe { cuda.launch(&GROUP_NORM, "group_norm_gradient_partials", sums.grid(dtype, 2), &args) }?;
    let args = [columns, norm, (&partials).into(), gamma.into(), (&mut terms).into()];
    // SAFETY: as above; a block for each image and group, which have two terms, and γ is `[c]` (asserted).
    unsafe { cuda.launch(&GROUP_NORM, "group_norm_gradient_terms", of_groups(g), &args) }?;
    let (columns, norm) = (Arg::from(&map.columns), Arg::from(&map.norm));
    let args = [
        kind,
        columns,
        norm,
        x.into(),
        dy.into(),
        (&statistics).into(),
        gamma.into(),
        (&terms).into(),
        dx.into(),
    ];
    // SAFETY: as above; the geometry covers each element once.
    unsafe { cuda.launch(&GROUP_NORM, "group_norm_gradient_apply", map.grid(dtype, 0), &args) }?;
    sum_gradients(cuda, g.c, g.n * sums.columns[0].parts(), &partials, [dgamma, dbeta])
}

/// A block for each group of each image, which folds partial sums.
fn of_groups(g: &GroupNorm) -> Grid {
    Grid::of(g.n * g.groups, columns::FOLD_THREADS).shared(columns::FOLD_THREADS * size_of::<f64>())
}

/// The images as matrices `[pixels, c]`, divided into blocks.
struct Matrix {
    columns: [Columns; 1],
    norm: [GroupNormArg; 1],
    images: usize,
    c: usize,
}

impl Matrix {
    /// Blocks with at least `steps` pixels per thread if there are enough.
    fn new(g: &GroupNorm, dtype: Dtype, steps: usize) -> Self {
        let columns = Columns::new(g.pixels, g.c, dtype, steps);
        let norm = GroupNormArg::of(g, columns.parts());
        Self { columns: [columns], norm: [norm], images: g.n, c: g.c }
    }

    /// The blocks of each image, with shared memory for `sums` sums.
    fn grid(&self, dtype: Dtype, sums: usize) -> Grid {
        let grid = self.columns[0].grid(dtype, sums);
        let [parts, tiles, _] = grid.blocks;
        Grid { blocks: [parts, tiles, self.images], ..grid }
    }

    /// Two sums of each image, part and channel.
    fn partials_len(&self) -> usize {
        self.images * self.columns[0].parts() * 2 * self.c
    }
}

/// `GroupNorm` in `group_norm.cu`.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct GroupNormArg {
    parts: u64,
    groups: u32,
    depth: u32,
    eps: f32,
    unused: u32,
}

impl GroupNormArg {
    fn of(g: &GroupNorm, parts: usize) -> Self {
        let [groups, depth] =
            [g.groups, g.depth()].map(|size| u32::try_from(size).expect("fewer than 2³² channels"));
        Self { parts: parts as u64, groups, depth, eps: g.eps, unused: 0 }
    }
}
