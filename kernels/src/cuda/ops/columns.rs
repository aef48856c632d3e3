//! How a matrix `[rows, c]` is cut into blocks by columns: the launchers' side of `columns.cuh`.

use crate::cuda::driver::launch::Grid;
use crate::cuda::{Cuda, DeviceBuffer, Result};
use crate::params::Dtype;
use bytemuck::NoUninit;

/// Threads of a block.
const THREADS: usize = 256;

/// At most so many blocks below one another: partial sums that the second stage adds up.
const MOST_PARTS: usize = 1024;

/// As its twin in the source.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
pub(in crate::cuda) struct Columns {
    rows: u64,
    rows_per_block: u64,
    c: u32,
    across: u32,
}

impl Columns {
    /// `[rows, c]` of `dtype`, at least `steps` rows for each thread where there are as many.
    pub fn new(rows: usize, c: usize, dtype: Dtype, steps: usize) -> Self {
        let across = across(c / lanes(c, dtype));
        let below = THREADS / across;
        let rows_per_block = (steps * below).max(rows.div_ceil(MOST_PARTS));
        let c = u32::try_from(c).expect("fewer than 2³² channels");
        Self { rows: rows as u64, rows_per_block: rows_per_block as u64, c, across: across as u32 }
    }

    /// Blocks below one another.
    pub fn parts(&self) -> usize {
        self.rows.div_ceil(self.rows_per_block) as usize
    }

    /// A thread for every `lanes` channels and every step down the rows, with shared memory for `sums` sums.
    pub fn grid(&self, dtype: Dtype, sums: usize) -> Grid {
        let lanes = lanes(self.c as usize, dtype);
        let tiles = (self.c as usize / lanes).div_ceil(self.across as usize);
        let grid = Grid::of(self.parts(), THREADS).shared(sums * lanes * THREADS * size_of::<f32>());
        Grid { blocks: [self.parts(), tiles, 1], ..grid }
    }

    /// Room for `sums` partial sums of each channel in each part.
    pub fn partials(&self, cuda: &Cuda, sums: usize) -> Result<DeviceBuffer> {
        cuda.buffer(Dtype::F32, self.parts() * sums * self.c as usize)
    }
}

/// The grid of the second stage over `c` channels, and how many of them a block has.
pub(in crate::cuda) fn fold(c: usize) -> (Grid, usize) {
    let across = across(c);
    (Grid::of(c.div_ceil(across), THREADS).shared(THREADS * size_of::<f64>()), across)
}

/// Channels that a thread moves at once, of `c`: sixteen bytes of them where that divides every row.
pub(in crate::cuda) fn lanes(c: usize, dtype: Dtype) -> usize {
    if c.is_multiple_of(dtype.lanes()) { dtype.lanes() } else { 1 }
}

/// Threads side by side for `pieces` of a row: a warp's worth at most.
fn across(pieces: usize) -> usize {
    pieces.next_power_of_two().min(32)
}
