//! The division of a matrix `[rows, c]` into blocks by columns: the host side of `columns.cuh`.

use crate::cuda::driver::launch::Grid;
use crate::cuda::{Cuda, DeviceBuffer, Result};
use crate::params::Dtype;
use bytemuck::NoUninit;

/// Threads per block.
const THREADS: usize = 256;

/// Threads of a block that folds partial sums, each with one in double precision in shared memory.
pub(in crate::cuda) const FOLD_THREADS: usize = THREADS;

/// The maximum number of blocks along the rows, which is the number of partial sums that the second stage adds.
const MOST_PARTS: usize = 1024;

/// `Columns` in `columns.cuh`.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
pub(in crate::cuda) struct Columns {
    rows: u64,
    rows_per_block: u64,
    c: u32,
    across: u32,
}

impl Columns {
    /// The division of `[rows, c]` of `dtype`, with at least `steps` rows per thread if there are enough.
    pub fn new(rows: usize, c: usize, dtype: Dtype, steps: usize) -> Self {
        let across = across(c / lanes(c, dtype));
        let below = THREADS / across;
        let rows_per_block = (steps * below).max(rows.div_ceil(MOST_PARTS));
        let c = u32::try_from(c).expect("fewer than 2³² channels");
        Self { rows: rows as u64, rows_per_block: rows_per_block as u64, c, across: across as u32 }
    }

    /// Blocks along the rows.
    pub fn parts(&self) -> usize {
        self.rows.div_ceil(self.rows_per_block) as usize
    }

    /// A thread for every `lanes` channels and every step along the rows, with shared memory for `sums` sums.
    pub fn grid(&self, dtype: Dtype, sums: usize) -> Grid {
        let lanes = lanes(self.c as usize, dtype);
        let tiles = (self.c as usize / lanes).div_ceil(self.across as usize);
        let grid = Grid::of(self.parts(), THREADS).shared(sums * lanes * THREADS * size_of::<f32>());
        Grid { blocks: [self.parts(), tiles, 1], ..grid }
    }

    /// Allocates `sums` partial sums for each channel and part.
    pub fn partials(&self, cuda: &Cuda, sums: usize) -> Result<DeviceBuffer> {
        cuda.buffer(Dtype::F32, self.parts() * sums * self.c as usize)
    }
}

/// The grid of the second stage over `c` channels, and the number of channels per block.
pub(in crate::cuda) fn fold(c: usize) -> (Grid, usize) {
    let across = across(c);
    (Grid::of(c.div_ceil(across), THREADS).shared(THREADS * size_of::<f64>()), across)
}

/// The channels, of `c`, that a thread moves at once: sixteen bytes if that divides every row, otherwise one channel.
pub(in crate::cuda) fn lanes(c: usize, dtype: Dtype) -> usize {
    if c.is_multiple_of(dtype.lanes()) { dtype.lanes() } else { 1 }
}

/// Threads across `pieces` of a row: at most a warp.
fn across(pieces: usize) -> usize {
    pieces.next_power_of_two().min(32)
}
