//! Sums in fixed chunks, so that the results are bit-identical for any number of threads.

use crate::cpu::Cpu;
use crate::cpu::ops::columns::{Shift, column_sums};

/// Computes `out[c] = Σ_row x[row, c]` for `x` `[rows, c]`, the gradient of a bias.
pub fn sum_rows(cpu: &Cpu, rows: usize, c: usize, x: &[f32], out: &mut [f32]) {
    assert_eq!((x.len(), out.len()), (rows * c, c));
    let totals = column_sums(cpu, c, Shift::FirstTile, [x], |_, [x]| [x]).totals();
    for (out, [total]) in out.iter_mut().zip(totals) {
        *out = total as f32;
    }
}

/// Computes the sum of all elements.
pub fn sum(cpu: &Cpu, x: &[f32]) -> f32 {
    let mut total = [0.0];
    sum_rows(cpu, x.len(), 1, x, &mut total);
    total[0]
}
