//! The choice of a product's tile, and the number of parts of its reduction.

use crate::cuda::driver::Result;
use crate::cuda::driver::launch::Grid;
use crate::cuda::driver::source::GEMM_F32;
use crate::cuda::ops::EpilogueArg;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;

/// Steps of the reduction that a tile in shared memory holds (`STEP` in `tile_f32.cuh`).
pub(super) const STEP: usize = 16;

/// A tile of an f32 product: one block's share of the output. Kernel names end in the tile's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tile {
    /// 128 × 128, for products large enough to fill the device with such tiles.
    Large,
    /// 64 × 64.
    Small,
    /// 128 × 32, for up to 32 columns.
    Thin,
}

impl Tile {
    fn extent(self) -> [usize; 2] {
        match self {
            Self::Large => [128, 128],
            Self::Small => [64, 64],
            Self::Thin => [128, 32],
        }
    }

    fn threads(self) -> usize {
        self.extent().iter().product::<usize>() / 64
    }

    fn count(self, m: usize, n: usize) -> usize {
        let [rows, columns] = self.extent();
        m.div_ceil(rows) * n.div_ceil(columns)
    }

    /// Two operands, double-buffered, in rows of `extent + 4` floats (`TileShared`).
    fn shared_bytes(self) -> usize {
        2 * STEP * 4 * self.extent().iter().map(|extent| extent + 4).sum::<usize>()
    }
}

/// How a product is divided among blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocking {
    pub tile: Tile,
    /// Parts of the reduction; if there are several, each has a separate output.
    pub splits: usize,
}

impl Blocking {
    /// Chooses the blocking of `groups` products of `[m, k]` by `[k, n]`.
    pub fn new(cuda: &Cuda, groups: usize, m: usize, n: usize, k: usize) -> Self {
        let blocks = |tile: Tile| groups * tile.count(m, n);
        let tile = if n <= 32 {
            Tile::Thin
        } else if m.min(n) > 64 && blocks(Tile::Large) >= cuda.multiprocessors() {
            Tile::Large
        } else {
            Tile::Small
        };
        // Four blocks of two warps keep a multiprocessor busy. A part is at least 8 tiles of k long.
        let wanted = if tile == Tile::Large { 1 } else { 4 * cuda.multiprocessors() / blocks(tile).max(1) };
        let splits = wanted.min(k / (8 * STEP)).clamp(1, 65_535 / groups);
        Self { tile, splits }
    }

    /// The grid of `groups` products: tiles along x, parts and groups along z.
    pub fn grid(&self, groups: usize, m: usize, n: usize) -> Grid {
        let blocks = [self.tile.count(m, n), 1, self.splits * groups];
        Grid { blocks, threads: self.tile.threads(), shared: self.tile.shared_bytes() }
    }
}

/// The name of the kernel for `tile`: `kernel!(tile, "gemm_nn")` is, for example, `gemm_nn_64x64`.
macro_rules! kernel {
    ($tile:expr, $name:literal) => {
        match $tile {
            $crate::cuda::simt::tiles::Tile::Large => concat!($name, "_128x128"),
            $crate::cuda::simt::tiles::Tile::Small => concat!($name, "_64x64"),
            $crate::cuda::simt::tiles::Tile::Thin => concat!($name, "_128x32"),
        }
    };
}
pub(super) use kernel;

/// Runs a product in `splits` parts; `launch` gets its output and epilogue. One part writes `y` with the given
/// epilogue; several write `[splits, y.len()]` partial sums, which are then added in order.
pub(super) fn in_parts(
    cuda: &Cuda,
    splits: usize,
    columns: usize,
    end: EpilogueArg,
    y: &mut DeviceBuffer,
    mut launch: impl FnMut(&mut DeviceBuffer, EpilogueArg) -> Result<()>,
) -> Result<()> {
    if splits == 1 {
        return launch(y, end);
    }
    let mut partial = cuda.buffer(Dtype::F32, splits * y.len())?;
    launch(&mut partial, EpilogueArg::default())?;
    let (len, end) = (y.len(), [end]);
    let args =
        [splits.into(), (len as u64).into(), columns.into(), (&partial).into(), (&end).into(), y.into()];
    // SAFETY: a thread below `len` reads that element of each part and of the residual, and writes it in `y`; its
    // column is below `columns`, the length of the bias.
    unsafe { cuda.launch(&GEMM_F32, "sum_parts", Grid::over(len), &args) }
}
