//! The table of tile kernels, by the types of A, B and C.
//!
//! | A | B | C | AVX-512 | AVX2 | portable |
//! | --- | --- | --- | --- | --- | --- |
//! | f32 | f32 | f32 | 8×16, 8×32, 8×48 | 6×8, 6×16 | 4×8 |
//! | f32 | bf16 | f32 | the same | the same | the same |
//! | f32 | f32, column by column | f32 | 8×1, 8×2, 8×3 | 6×1, 6×2 | 4×1 |
//!
//! An entry owns the layout of its packed B: it packs panels and states their length. A kernel that reads B in another
//! order, such as one for int8 that interleaves four steps of the reduction, is one more entry.

use crate::cpu::gemm::element::Element;
use crate::cpu::gemm::strided::Strided;
use crate::cpu::gemm::tile::Tile;
use crate::dtype::Dtype;
use std::ops::Range;

/// The element types of a product `C = A · B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cpu) struct Types {
    pub a: Dtype,
    pub b: Dtype,
    pub c: Dtype,
}

impl Types {
    /// A product of f32.
    pub const F32: Self = Self::with_weights(Dtype::F32);

    /// A product of f32 images and weights of type `b`.
    pub const fn with_weights(b: Dtype) -> Self {
        Self { a: Dtype::F32, b, c: Dtype::F32 }
    }
}

/// The order in which a kernel reads a packed panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cpu) enum Order {
    /// One row of `nr` columns after another. A part of the reduction is contiguous.
    Rows,
    /// One column after another; each has all rows.
    Columns,
}

/// A tile kernel of one size for one combination of types.
pub(in crate::cpu) struct TileKernel {
    /// The kernel's name: operation, rows × columns, instruction set, and the type of B unless it is f32.
    pub name: &'static str,
    pub types: Types,
    pub mr: usize,
    pub nr: usize,
    pub order: Order,
    /// The number of elements of a packed panel of `k` rows and `nr` columns.
    packed_len: fn(k: usize, nr: usize) -> usize,
    /// Packs these rows and columns, at most `nr`, of a matrix of f32. The packed panel is aligned for elements of B
    /// and has the bytes of its elements.
    pack: fn(matrix: &Strided, rows: Range<usize>, columns: Range<usize>, nr: usize, packed: &mut [u8]),
    /// Computes tiles of a panel: `m` rows, `mr` at a time.
    ///
    /// # Safety
    /// The machine supports the instruction set, each pointer of the tile is valid as its field specifies, and B has
    /// the type and the layout of this entry.
    pub run: unsafe fn(&Tile),
}

impl TileKernel {
    /// The kernel of `mr × nr` for a B of type `E`, which is packed row by row; `run` computes a tile.
    pub(in crate::cpu) const fn new<E: Element>(
        name: &'static str,
        [mr, nr]: [usize; 2],
        run: unsafe fn(&Tile),
    ) -> Self {
        let types = Types::with_weights(E::DTYPE);
        Self { name, types, mr, nr, order: Order::Rows, packed_len: |k, nr| k * nr, pack: E::pack, run }
    }

    /// The kernel of `mr` rows and exactly `nr` columns, which are packed one after another; `run` computes a tile.
    pub(in crate::cpu) const fn by_columns(
        name: &'static str,
        [mr, nr]: [usize; 2],
        run: unsafe fn(&Tile),
    ) -> Self {
        let pack =
            |matrix: &Strided, rows: Range<usize>, columns: Range<usize>, _: usize, packed: &mut [u8]| {
                matrix.copy_columns(rows, columns, bytemuck::cast_slice_mut(packed));
            };
        Self { name, types: Types::F32, mr, nr, order: Order::Columns, packed_len: |k, nr| k * nr, pack, run }
    }

    /// The distance in bytes from the start of a packed panel to its part that begins at row `k`.
    pub(in crate::cpu) fn bytes_before(&self, k: usize) -> usize {
        match self.order {
            Order::Rows => self.packed_bytes(k),
            Order::Columns => k * self.types.b.bytes(),
        }
    }

    /// The number of elements of a packed panel of `k` rows.
    pub(in crate::cpu) fn packed_len(&self, k: usize) -> usize {
        (self.packed_len)(k, self.nr)
    }

    /// The number of bytes of a packed panel of `k` rows.
    pub(in crate::cpu) fn packed_bytes(&self, k: usize) -> usize {
        self.packed_len(k) * self.types.b.bytes()
    }

    /// Packs rows `rows` and columns `columns`, at most NR, of `matrix` into a panel.
    pub(in crate::cpu) fn pack(
        &self,
        matrix: &Strided,
        rows: Range<usize>,
        columns: Range<usize>,
        packed: &mut [u8],
    ) {
        let bytes = self.packed_bytes(rows.len());
        (self.pack)(matrix, rows, columns, self.nr, &mut packed[..bytes]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Cpu, Isa};
    use half::bf16;

    #[test]
    fn tables_are_ordered_and_names_are_unique() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let groups = [Dtype::F32, Dtype::Bf16].map(|b| cpu.backend.tiles(Types::with_weights(b)));
            let mut names: Vec<&str> = groups.iter().flat_map(|tiles| tiles.iter().map(|t| t.name)).collect();
            for tiles in groups {
                for (vectors, tile) in (1..).zip(tiles) {
                    assert_eq!(tile.nr, vectors * tiles[0].nr, "{}", tile.name);
                    assert_eq!(tile.packed_bytes(3), 3 * tile.nr * tile.types.b.bytes());
                }
            }
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", cpu.isa());
        }
    }

    #[test]
    fn bf16_panels_are_rounded_panels() {
        let (k, n) = (37, 21);
        let data: Vec<f32> = (0..n * k).map(|i| (i as f32).sqrt()).collect();
        let matrix = Strided { data: &data, k_step: 1, j_step: k, columns: None };
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let panels = [Dtype::F32, Dtype::Bf16].map(|b| &cpu.backend.tiles(Types::with_weights(b))[0]);
            let [exact, rounded] = panels.map(|kernel| {
                let mut packed = vec![0u32; kernel.packed_bytes(k - 2).div_ceil(4)];
                kernel.pack(&matrix, 2..k, 16..n, bytemuck::cast_slice_mut(&mut packed));
                packed
            });
            let exact: &[f32] = bytemuck::cast_slice(&exact);
            let want: Vec<bf16> = exact.iter().map(|&x| bf16::from_f32(x)).collect();
            assert_eq!(bytemuck::cast_slice::<u32, bf16>(&rounded), want, "{}", cpu.isa());
        }
    }
}
