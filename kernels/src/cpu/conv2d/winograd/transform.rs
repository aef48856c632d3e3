//! The common part of all Winograd transforms: a small matrix is applied to columns, then to rows.
//!
//! An algorithm F(m×m, 3×3) computes `y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` from a patch `d` of (m + 2)² pixels (Winograd
//! 1980; Lavin & Gray 2016). Each of Bᵀ, G and Aᵀ is a [`Map`] of vectors, which is applied to both sides of an image.

use crate::cpu::simd::Simd;

/// A constant matrix with O rows and I columns.
pub(super) trait Map<const I: usize, const O: usize>: Copy + Send + Sync {
    /// Multiplies the matrix by a vector.
    fn apply<S: Simd>(self, s: S, v: [S::F; I]) -> [S::F; O];
}

/// `M d Mᵀ`.
#[inline(always)]
pub(super) fn both_sides<S: Simd, const I: usize, const O: usize>(
    s: S,
    map: impl Map<I, O>,
    d: &[[S::F; I]; I],
) -> [[S::F; O]; O] {
    // Uses loops instead of `array::map`, whose closure would not be compiled for the instruction set.
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
