//! Products on tensor cores by `mma.sync`: convolution and matrix products in bf16, f16, and f32 by way of tf32.
//!
//! The type of the operands decides: two-byte elements are multiplied exactly and summed in f32; f32 elements are
//! rounded to tf32 first (ten bits of mantissa, as f16, with the range of f32). Results are rounded once.

mod conv2d;
mod gemm;
mod masked;
mod slices;

pub use conv2d::*;
pub use gemm::*;
pub use masked::*;
use slices::{Slices, sum_slices};

use crate::cuda::launch::Grid;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::{Activation, Dtype};
use bytemuck::{Pod, Zeroable};

/// The block's part of a product, rows × columns.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Square128, Self::Tall128, Self::Square64];

    fn size(self) -> [usize; 2] {
        match self {
            Self::Square128 => [128, 128],
            Self::Tall128 => [128, 64],
            Self::Square64 => [64, 64],
        }
    }

    /// Tiles of a product.
    fn blocks(self, rows: usize, columns: usize) -> usize {
        let [m, n] = self.size();
        rows.div_ceil(m) * columns.div_ceil(n)
    }

    /// A block for each tile of a product, `slices` times over.
    fn grid(self, rows: usize, columns: usize, slices: usize) -> Grid {
        /// Four stages of 64 bytes of each row and column; the sums need no more.
        const BYTES_A_LINE: usize = 4 * 64;
        let [m, n] = self.size();
        let blocks = [self.blocks(rows, columns), 1, slices];
        let threads = if self == Self::Square128 { 256 } else { 128 };
        Grid { blocks, threads, shared: (m + n) * BYTES_A_LINE }
    }
}

/// How a product is divided among blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// A block's part of the result.
    pub tile: Tile,
    /// Into how many slices k is cut, at most: each is summed by blocks of its own.
    pub slices: usize,
}

/// Steps of k that are worth a second kernel to add their slices.
const SHORTEST_CUT: usize = 32;

/// The kernels of an operation, each for bf16, f16 and tf32.
struct Kernels {
    /// The largest tile first.
    tiles: &'static [(Tile, [&'static str; 3])],
    /// For operands that are not made of whole vectors: tiles of [`Tile::Square64`].
    any: [&'static str; 3],
}

/// The names of a kernel in its three grades.
macro_rules! grades {
    ($operation:literal, $tile:literal) => {
        [
            concat!($operation, "_bf16", $tile),
            concat!($operation, "_f16", $tile),
            concat!($operation, "_tf32", $tile),
        ]
    };
}
use grades;

impl Kernels {
    /// For a product of `rows` × `columns` sums of `k` products of elements of type `dtype`. One that has too few tiles
    /// for the device is cut along k, unless it is so short that adding the slices would take as long as it saves.
    fn plan(&self, cuda: &Cuda, [rows, columns, k]: [usize; 3], dtype: Dtype) -> Plan {
        let tile = self.tile(cuda, rows, columns);
        let blocks = tile.blocks(rows, columns);
        let cut = blocks < cuda.multiprocessors() && k >= SHORTEST_CUT * Slices::step(dtype);
        Plan { tile, slices: if cut { Slices::filling(cuda, blocks, k, dtype).count } else { 1 } }
    }

    /// The largest tile that gives every multiprocessor a block, and is not half empty; else the smallest.
    fn tile(&self, cuda: &Cuda, rows: usize, columns: usize) -> Tile {
        let fits = |tile: &Tile| {
            let [m, n] = tile.size();
            tile.blocks(rows, columns) >= cuda.multiprocessors() && rows > m / 2 && columns > n / 2
        };
        let mut tiles = self.tiles.iter().map(|(tile, _)| *tile);
        tiles.find(fits).unwrap_or(Tile::Square64)
    }

    /// The kernel for elements of type `dtype`, and its tile.
    fn choose(&self, dtype: Dtype, vectors: bool, tile: Tile) -> (&'static str, Tile) {
        let grade = match dtype {
            Dtype::Bf16 => 0,
            Dtype::F16 => 1,
            Dtype::F32 => 2,
            Dtype::U32 => panic!("tensor cores multiply floating-point elements"),
        };
        match self.tiles.iter().find(|(t, _)| vectors && *t == tile) {
            Some((tile, names)) => (names[grade], *tile),
            None => (self.any[grade], Tile::Square64),
        }
    }
}

/// Division by a number that is known beforehand, exact for all numbers below 2³¹ (Granlund & Montgomery, "Division by
/// invariant integers using multiplication", 1994): `x / by = x · multiplier >> shift`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Divide {
    by: u32,
    multiplier: u32,
    shift: u32,
}

impl Divide {
    fn by(by: usize) -> Self {
        let bits = by.next_power_of_two().ilog2();
        let multiplier = (1u64 << (31 + bits)) / by as u64 + 1;
        Self { by: by as u32, multiplier: multiplier as u32, shift: 31 + bits }
    }
}

/// The windows of a convolution: position `i`, tap `t` reads row `i·stride + origin + t·dilation` of the array, if it
/// is inside, and likewise along the width.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Windows {
    /// Of the array that is read, `[images, h, w, c]`.
    shape: [i32; 4],
    /// Positions in an image, along height and width.
    positions: [i32; 2],
    /// Of a window, along the height and in all.
    taps_h: i32,
    taps: i32,
    channels: i32,
    stride: [i32; 2],
    origin: [i32; 2],
    dilation: [i32; 2],
    by_rows: Divide,
    by_columns: Divide,
    by_channels: Divide,
    by_taps_w: Divide,
}

impl Windows {
    /// # Panics
    /// Where the array, or the number of windows, is more than a kernel's ints count.
    fn new(
        shape: [usize; 4],
        positions: [usize; 2],
        taps: [usize; 2],
        [stride, origin, dilation]: [[i32; 2]; 3],
    ) -> Self {
        // A tile may begin inside and end past the end.
        let countable = |n: usize| n < (1 << 31) - 256;
        let k = taps[0] * taps[1] * shape[3];
        assert!(
            countable(shape[1..].iter().product())
                && countable(shape[0] * positions[0] * positions[1])
                && countable(k),
            "an image, the positions and the products of a window are each fewer than 2³¹"
        );
        Self {
            shape: shape.map(|n| n as i32),
            positions: positions.map(|n| n as i32),
            taps_h: taps[0] as i32,
            taps: (taps[0] * taps[1]) as i32,
            channels: shape[3] as i32,
            stride,
            origin,
            dilation,
            by_rows: Divide::by(positions[0]),
            by_columns: Divide::by(positions[1]),
            by_channels: Divide::by(shape[3]),
            by_taps_w: Divide::by(taps[1].max(1)),
        }
    }
}

/// Where the sums go, and what is done to them.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Output {
    rows: i32,
    columns: i32,
    activation: i32,
    /// Whether y is f32, whatever the operands are.
    f32: i32,
    /// Whether row `(image, i, j)` goes to pixel `(i·step + first, j·step + first)` of an image of `size`; else rows
    /// stay in order.
    scattered: i32,
    size: [i32; 2],
    step: [i32; 2],
    first: [i32; 2],
    by_rows: Divide,
    by_columns: Divide,
}

impl Output {
    /// `rows` × `columns`, in order.
    fn dense(rows: usize, columns: usize, activation: Activation, y: &DeviceBuffer) -> Self {
        Self {
            rows: rows as i32,
            columns: columns as i32,
            activation: activation as i32,
            f32: (y.dtype() == Dtype::F32).into(),
            scattered: 0,
            size: [1; 2],
            step: [1; 2],
            first: [0; 2],
            by_rows: Divide::by(1),
            by_columns: Divide::by(1),
        }
    }

    /// The same rows and columns as f32 sums, in order and with nothing done to them.
    fn of_sums(&self, sums: &DeviceBuffer) -> Self {
        Self::dense(self.rows as usize, self.columns as usize, Activation::None, sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_is_exact() {
        for by in (1..2000).chain([12_544, 65_537, (1 << 30) + 1, (1 << 31) - 1]) {
            let d = Divide::by(by);
            let near = (0..64).flat_map(|i| [i * by, i * by + by - 1]).filter(|&x| x < 1 << 31);
            for x in near.chain([0, 1, (1 << 31) - 1, (1 << 31) - 2]) {
                assert_eq!((x as u64 * u64::from(d.multiplier)) >> d.shift, (x / by) as u64, "{x} / {by}");
            }
        }
    }
}
