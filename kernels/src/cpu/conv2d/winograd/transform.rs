//! What the transforms of every Winograd algorithm have in common: a small matrix times columns, then times rows.
//!
//! An algorithm F(m×m, 3×3) computes `y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` from a patch `d` of (m + 2)² pixels (Winograd
//! 1980; Lavin & Gray 2016). Each of Bᵀ, G and Aᵀ is a [`Map`] of vectors; on an image it is applied to both sides.

use crate::cpu::simd::Simd;

/// A constant matrix of O rows and I columns.
pub(super) trait Map<const I: usize, const O: usize>: Copy + Send + Sync {
    /// Its product with a vector.
    fn apply<S: Simd>(self, s: S, v: [S::F; I]) -> [S::F; O];
}

/// `M d Mᵀ`.
#[inline(always)]
pub(super) fn both_sides<S: Simd, const I: usize, const O: usize>(
    s: S,
    map: impl Map<I, O>,
    d: &[[S::F; I]; I],
) -> [[S::F; O]; O] {
    // Loops and not `array::map`: a closure inside it would not be compiled for the instruction set.
    let mut columns = [[s.zero(); I]; O];
    for x in 0..I {
        let mut column = [s.zero(); I];
        for y in 0..I {
            column[y] = d[y][x];
        }
        let column = map.apply(s, column);
        for y in 0..O {
            columns[y][x] = column[y];
        }
    }
    let mut rows = [[s.zero(); O]; O];
    for y in 0..O {
        rows[y] = map.apply(s, columns[y]);
    }
    rows
}
