//! Products on tensor cores by `mma.sync`: convolution and matrix products in bf16, f16, and f32 by way of tf32.
//!
//! The type of the operands decides: two-byte elements are multiplied exactly and summed in f32; f32 elements are
//! rounded to tf32 first (ten bits of mantissa, as f16, with the range of f32). Results are rounded once.

mod conv2d;
mod gemm;
mod masked;

pub use conv2d::*;
pub use gemm::*;
pub use masked::*;

use crate::cuda::error::Result;
use crate::cuda::launch::{Arg, Grid};
use crate::cuda::source::GEMM_MMA;
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

/// Elements of k that a tile takes at a step.
fn step(dtype: Dtype) -> usize {
    64 / dtype.bytes()
}

/// How many slices of how many elements each `k` is cut into, so that a product of `blocks` tiles gives every
/// multiprocessor two, and no slice is shorter than eight steps.
fn slices(cuda: &Cuda, blocks: usize, k: usize, dtype: Dtype) -> (usize, usize) {
    let steps = k.div_ceil(step(dtype));
    let wanted = (2 * cuda.multiprocessors()).div_ceil(blocks).min(steps / 8).max(1);
    let slice = steps.div_ceil(wanted).max(1) * step(dtype);
    (k.div_ceil(slice).max(1), slice)
}

/// Runs `launch` on the buffer for its sums: `y`, or where there are several slices of them one for all, whose sum then
/// is written, or added, to `y`.
fn sum_slices(
    cuda: &Cuda,
    slices: usize,
    accumulate: bool,
    y: &mut DeviceBuffer,
    launch: impl FnOnce(&mut DeviceBuffer) -> Result<()>,
) -> Result<()> {
    if slices == 1 {
        return launch(y);
    }
    let mut partial = cuda.buffer(Dtype::F32, slices * y.len())?;
    launch(&mut partial)?;
    let n = y.len();
    let args = [
        Arg::Int(y.dtype() as i32),
        Arg::from(n as u64),
        slices.into(),
        Arg::Int(accumulate.into()),
        (&partial).into(),
        y.into(),
    ];
    // SAFETY: a thread touches element `i < n` of y and of each slice, of which `partial` holds `slices`.
    unsafe { cuda.launch(&GEMM_MMA, "gemm_mma_add_slices", Grid::over(n), &args) }
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
