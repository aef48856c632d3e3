//! Packing of a strided matrix into rows of a fixed width.

use std::ops::Range;

/// A strided matrix: element `(k, j)` is `data[k * k_step + j * j_step]`, or `data[k * k_step + columns[j] * j_step]`
/// with a list of columns.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Strided<'a> {
    pub data: &'a [f32],
    pub k_step: usize,
    pub j_step: usize,
    /// The columns to pack, unless they are all columns in order.
    pub columns: Option<&'a [u32]>,
}

impl Strided<'_> {
    /// Copies rows `rows` of the packed columns `columns` to `to`, `nr` floats per row, with zeros after the columns.
    pub(in crate::cpu) fn copy(&self, rows: Range<usize>, columns: Range<usize>, nr: usize, to: &mut [f32]) {
        let (width, to) = (columns.len(), &mut to[..rows.len() * nr]);
        if self.j_step == 1 && self.columns.is_none() {
            for (k, row) in rows.zip(to.chunks_exact_mut(nr)) {
                row[..width].copy_from_slice(&self.data[k * self.k_step + columns.start..][..width]);
                row[width..].fill(0.0);
            }
            return;
        }
        // A transposition: sixteen rows at a time keep the output in the L1 cache.
        const ROWS: usize = 16;
        for (first, to) in rows.step_by(ROWS).zip(to.chunks_mut(ROWS * nr)) {
            for (j, column) in columns.clone().enumerate() {
                let column = self.columns.map_or(column, |listed| listed[column] as usize);
                let column = &self.data[first * self.k_step + column * self.j_step..];
                for (k, row) in to.chunks_exact_mut(nr).enumerate() {
                    row[j] = column[k * self.k_step];
                }
            }
            for row in to.chunks_exact_mut(nr) {
                row[width..].fill(0.0);
            }
        }
    }
}

impl Strided<'_> {
    /// Copies columns `columns`, rows `rows` of each, to `to`, one column after another.
    pub(in crate::cpu) fn copy_columns(&self, rows: Range<usize>, columns: Range<usize>, to: &mut [f32]) {
        for (column, to) in columns.zip(to.chunks_exact_mut(rows.len())) {
            let column = self.columns.map_or(column, |listed| listed[column] as usize);
            let data = &self.data[column * self.j_step..];
            Strided { data, k_step: 0, j_step: self.k_step, columns: None }.copy(
                0..1,
                rows.clone(),
                rows.len(),
                to,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::gemm::panels::split_columns;
    use crate::cpu::gemm::tile_kernel::Types;
    use crate::cpu::{Cpu, Isa};

    #[test]
    fn both_orders_pack_alike() {
        let tiles = Cpu::with_isa(Isa::Portable).unwrap().backend.tiles(Types::F32);
        let (k, n) = (37, 13);
        let rows: Vec<f32> = (0..k * n).map(|i| i as f32).collect();
        let columns: Vec<f32> = (0..n * k).map(|i| rows[i % k * n + i / k]).collect();
        for panel in split_columns(tiles, n, k, 0) {
            let mut packed = [vec![-1.0; 8 * k], vec![-1.0; 8 * k]];
            Strided { data: &rows, k_step: n, j_step: 1, columns: None }.copy(
                0..k,
                panel.columns(),
                8,
                &mut packed[0],
            );
            Strided { data: &columns, k_step: 1, j_step: k, columns: None }.copy(
                0..k,
                panel.columns(),
                8,
                &mut packed[1],
            );
            assert_eq!(packed[0], packed[1]);
            assert_eq!(packed[0][8], rows[n + panel.start]);
        }
    }
}
