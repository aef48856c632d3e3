//! Division of a matrix product's columns into panels.
//!
//! A panel holds NR columns of B, row by row, so that the tile kernel reads it as one aligned stream. The last columns
//! are padded with zeros to whole vectors.
//!
//! ```text
//!   columns: 64 = 32 + 32     128 = 48 + 48 + 32     80 = 48 + 32     10 = 16 (6 of them zeros)
//!   with dot tiles: 33 = 32 + 1     131 = 48 + 48 + 32 + 3     37 = 32 + 3 + 2     45 = 48 (3 of them zeros)
//! ```

use crate::cpu::device::isa::Backend;
use crate::cpu::gemm::tile_kernel::{TileKernel, Types};
use std::ops::Range;

/// A range of columns computed by one tile kernel.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Panel {
    /// The first column.
    pub start: usize,
    /// The number of columns; the packed panel is `kernel.nr ≥ width` wide.
    pub width: usize,
    pub kernel: &'static TileKernel,
    /// The offset of the panel in the packed matrix, in elements.
    pub offset: usize,
    /// The first element of A's rows that is multiplied by this panel: the group's first channel.
    pub a_offset: usize,
}

impl Panel {
    /// The offset of the panel in the packed matrix, in bytes.
    pub(in crate::cpu) fn first_byte(&self) -> usize {
        self.offset * self.kernel.types.b.bytes()
    }

    /// The columns of the matrix that the panel packs.
    pub(in crate::cpu) fn columns(&self) -> Range<usize> {
        self.start..self.start + self.width
    }
}

/// Divides `n` columns into panels of `tiles`, each `k` rows long and packed from `offset` on. Prefers the widest
/// tiles. If the vectors do not divide evenly, narrower tiles share the remainder, so that no single vector is left
/// over.
pub(in crate::cpu) fn split_columns(
    tiles: &'static [TileKernel],
    n: usize,
    k: usize,
    offset: usize,
) -> Vec<Panel> {
    let lanes = tiles[0].nr;
    let (mut start, mut offset) = (0, offset);
    let mut panels = Vec::new();
    while start < n {
        let vectors = (n - start).div_ceil(lanes);
        let count = if vectors == tiles.len() + 1 { vectors.div_ceil(2) } else { vectors.min(tiles.len()) };
        let kernel = &tiles[count - 1];
        panels.push(Panel { start, width: kernel.nr.min(n - start), kernel, offset, a_offset: 0 });
        start += kernel.nr;
        offset += kernel.packed_len(k);
    }
    panels
}

/// The cost of adding up the lanes of a dot tile's sum and of storing it alone, in vectors of the reduction.
const DOT_ENDS: usize = 8;

/// Divides `n` columns like [`split_columns`], for a product whose A has adjacent elements in each of the
/// `[segments, len]` of its reduction. If the last vector of columns would be mostly empty, dot tiles compute its
/// columns.
pub(in crate::cpu) fn split_with_dots(
    backend: Backend,
    types: Types,
    n: usize,
    [segments, len]: [usize; 2],
) -> Vec<Panel> {
    let (tiles, dots, k) = (backend.tiles(types), backend.dots(types), segments * len);
    let lanes = tiles[0].nr;
    let rest = n % lanes;
    // In vectors of the reduction: a vector of columns needs one per step, a dot tile one per column and LANES steps.
    let dot_cost = rest * (segments * len.div_ceil(lanes) + DOT_ENDS);
    // A tile of one vector of eight lanes waits for loads, so a second vector takes 3/8 of the time of the first.
    let vector_cost = if lanes == 8 && n < 2 * lanes { k * 3 / 8 } else { k };
    if n < lanes || rest == 0 || dots.is_empty() || dot_cost >= vector_cost {
        return split_columns(tiles, n, k, 0);
    }
    let mut panels = split_columns(tiles, n - rest, k, 0);
    let (mut start, mut offset) = (n - rest, packed_len(&panels, k));
    // As even as possible, because a dot tile of one column loads a vector for each multiply-add.
    for passes in (1..=rest.div_ceil(dots.len())).rev() {
        let kernel = &dots[(n - start).div_ceil(passes) - 1];
        panels.push(Panel { start, width: kernel.nr, kernel, offset, a_offset: 0 });
        start += kernel.nr;
        offset += kernel.packed_len(k);
    }
    panels
}

/// The number of elements that the packed panels take with `k` rows, from the offset of the first panel on.
pub(in crate::cpu) fn packed_len(panels: &[Panel], k: usize) -> usize {
    panels.iter().map(|panel| panel.kernel.packed_len(k)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::gemm::tile_kernel::Order;
    use crate::cpu::{Cpu, Isa};
    use crate::dtype::Dtype;

    #[test]
    fn panels_tile_the_columns() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let tiles = cpu.backend.tiles(Types::F32);
            let lanes = tiles[0].nr;
            for n in 1..300 {
                let panels = split_columns(tiles, n, 3, 7);
                let mut column = 0;
                for panel in &panels {
                    assert_eq!(panel.start, column);
                    column += panel.width;
                }
                assert_eq!(column, n);
                let wasted = panels.iter().map(|p| p.kernel.nr).sum::<usize>() - n;
                assert!(wasted < lanes, "{} wastes {wasted} of {n} columns", cpu.isa());
            }
        }
    }

    #[test]
    fn dot_tiles_take_the_last_columns_of_long_reductions() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let lanes = cpu.backend.tiles(Types::F32)[0].nr;
            let (mut with_dots, mut all) = (0, 0);
            for n in 1..150 {
                for reduction in [[1, 8], [1, 100], [9, 33], [9, 512], [3, 9]] {
                    let panels = split_with_dots(cpu.backend, Types::F32, n, reduction);
                    let (mut column, mut offset) = (0, 0);
                    for panel in &panels {
                        assert_eq!((panel.start, panel.offset), (column, offset));
                        let dots = panel.kernel.order == Order::Columns;
                        assert!(!dots || panel.width == panel.kernel.nr, "a dot tile has no empty columns");
                        (column, offset) = (
                            column + panel.width,
                            offset + panel.kernel.packed_len(reduction[0] * reduction[1]),
                        );
                    }
                    assert_eq!(column, n);
                    let dots = panels.iter().filter(|panel| panel.kernel.order == Order::Columns);
                    let dots: usize = dots.map(|panel| panel.width).sum();
                    assert!(dots < lanes && (dots == 0 || n > lanes), "{}: {dots} of {n}", cpu.isa());
                    (with_dots, all) = (with_dots + usize::from(dots > 0), all + 1);
                }
                let one = split_with_dots(cpu.backend, Types::F32, lanes * n + 1, [9, 64]);
                let last = one.last().unwrap();
                assert_eq!((last.width, last.kernel.order), (1, Order::Columns), "one column is a dot tile");
            }
            assert!(with_dots > all / 10 && with_dots < all / 2, "{}: {with_dots} of {all}", cpu.isa());
            let bf16 = Types::with_weights(Dtype::Bf16);
            let panels = split_with_dots(cpu.backend, bf16, lanes + 1, [9, 64]);
            assert!(panels.iter().all(|panel| panel.kernel.types == bf16), "bf16 has vector tiles only");
        }
    }
}
