//! The choice of a product's tile, kernel, and number of slices along k.

use super::slices::Slices;
use crate::cuda::Cuda;
use crate::cuda::driver::launch::Grid;
use crate::params::Dtype;

/// A block's part of a product, rows × columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 128 × 128.
    Square128,
    /// 128 × 64.
    Tall128,
    /// 64 × 64.
    Square64,
}

impl Tile {
    /// All tiles.
    pub const ALL: [Self; 3] = [Self::Square128, Self::Tall128, Self::Square64];

    fn size(self) -> [usize; 2] {
        match self {
            Self::Square128 => [128, 128],
            Self::Tall128 => [128, 64],
            Self::Square64 => [64, 64],
        }
    }

    /// The number of tiles in a product.
    pub(super) fn blocks(self, rows: usize, columns: usize) -> usize {
        let [m, n] = self.size();
        rows.div_ceil(m) * columns.div_ceil(n)
    }

    /// One block for each tile of a product, in each of `slices` slices.
    pub(super) fn grid(self, rows: usize, columns: usize, slices: usize) -> Grid {
        /// Four stages of 64 bytes per row and column; the sums need no more.
        const BYTES_A_LINE: usize = 4 * 64;
        let [m, n] = self.size();
        let blocks = [self.blocks(rows, columns), 1, slices];
        let threads = if self == Self::Square128 { 256 } else { 128 };
        Grid { blocks, threads, shared: (m + n) * BYTES_A_LINE }
    }
}

/// How a product is divided among blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocking {
    /// The part of the result that a block computes.
    pub tile: Tile,
    /// The maximum number of slices of k; separate blocks sum each slice.
    pub slices: usize,
}

/// The fewest steps of k that justify a second kernel to add the slices.
const SHORTEST_CUT: usize = 32;

/// The kernels of an operation, each for bf16, f16 and tf32.
pub(super) struct Kernels {
    /// Tiles and kernel names, largest tile first.
    pub tiles: &'static [(Tile, [&'static str; 3])],
    /// Kernels for operands that do not consist of whole vectors, with tiles of [`Tile::Square64`].
    pub any: [&'static str; 3],
}

/// The three names of a kernel, one per grade.
macro_rules! grades {
    ($operation:literal, $tile:literal) => {
        [
            concat!($operation, "_bf16", $tile),
            concat!($operation, "_f16", $tile),
            concat!($operation, "_tf32", $tile),
        ]
    };
}
pub(super) use grades;

impl Kernels {
    /// Chooses the blocking of a product of `rows` × `columns` sums of `k` products, with elements of type `dtype`. A
    /// product with too few tiles for the device is split along k, unless it is so short that adding the slices would
    /// take as long as the split saves.
    pub(super) fn blocking(&self, cuda: &Cuda, [rows, columns, k]: [usize; 3], dtype: Dtype) -> Blocking {
        let tile = self.tile(cuda, rows, columns);
        let blocks = tile.blocks(rows, columns);
        let cut = blocks < cuda.multiprocessors() && k >= SHORTEST_CUT * Slices::step(dtype);
        Blocking { tile, slices: if cut { Slices::filling(cuda, blocks, k, dtype).count } else { 1 } }
    }

    /// The largest tile that gives every multiprocessor a block and is more than half full; otherwise the smallest.
    fn tile(&self, cuda: &Cuda, rows: usize, columns: usize) -> Tile {
        let fits = |tile: &Tile| {
            let [m, n] = tile.size();
            tile.blocks(rows, columns) >= cuda.multiprocessors() && rows > m / 2 && columns > n / 2
        };
        let mut tiles = self.tiles.iter().map(|(tile, _)| *tile);
        tiles.find(fits).unwrap_or(Tile::Square64)
    }

    /// The kernel for elements of type `dtype`, and its tile.
    pub(super) fn choose(&self, dtype: Dtype, vectors: bool, tile: Tile) -> (&'static str, Tile) {
        let grade = match dtype {
            Dtype::Bf16 => 0,
            Dtype::F16 => 1,
            Dtype::F32 | Dtype::Tf32 => 2,
            Dtype::U32 => panic!("tensor cores multiply floating-point elements"),
        };
        match self.tiles.iter().find(|(t, _)| vectors && *t == tile) {
            Some((tile, names)) => (names[grade], *tile),
            None => (self.any[grade], Tile::Square64),
        }
    }
}
