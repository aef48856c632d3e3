//! The register tile of the last few columns of a product, as dot products.
//!
//! A vector tile computes whole vectors of columns. If one or a few columns are left over, one more vector would mostly
//! multiply zeros. This tile has its lanes along the reduction instead, so a column costs 1/LANES of a vector.
//!
//! ```text
//!            B, column by column                      for segment in segments       (taps of a convolution)
//!            b₀ ───── k ─────►                          for vector of k in 0..len   (channels), the last one masked
//!            b₁ ───── k ─────►                            load one vector of each column
//!            b₂ ───── k ─────►                            for row in 0..MR          (unrolled)
//!                                                           load one vector of rows[row]
//!  rows[0] ── k ──►  acc₀₀ acc₀₁ acc₀₂                      NC fused multiply-adds
//!  rows[1] ── k ──►  acc₁₀ acc₁₁ acc₁₂                add up the lanes of each of the MR × NC sums
//!     ⋮                       …                       finish each row as a vector tile does
//! ```
//!
//! Rows are those of the vector tile, read in place. Tile sizes: AVX-512 8×3 has 24 accumulators, 3 vectors of B and
//! one of A in 32 registers, and loads 11 vectors for 24 FMAs; AVX2 6×2 has 12, 2 and 1 of 16. Adding up the lanes
//! costs as much as a few vectors of the reduction, so short reductions keep the vector tile ([`super::panels`]).

use super::operands::Tile;
use super::sizes::MAX_MR;
use crate::cpu::simd::Simd;
use crate::cpu::simd::activate::activate;
use crate::cpu::simd::partial::load_lanes;

/// Computes tiles of at most `MR` rows and exactly `NC` columns, whose B is stored column by column.
///
/// Each backend instantiates this inside a `#[target_feature]` function.
///
/// # Safety
/// The pointers of `t` are valid as their fields specify, A's elements are adjacent (`a_step` is 1), and `t.n` is `NC`.
#[inline(always)]
pub(in crate::cpu) unsafe fn dot_tile<S: Simd, const MR: usize, const NC: usize>(s: S, t: &Tile) {
    for t in t.blocks(MR) {
        // SAFETY: guaranteed by the caller; the tile has at most MR rows.
        unsafe { rows::<S, MR, NC>(s, &t) }
    }
}

/// Computes a tile of at most `MR` rows.
///
/// # Safety
/// As for [`dot_tile`], and `t.m` is at most MR.
#[inline(always)]
unsafe fn rows<S: Simd, const MR: usize, const NC: usize>(s: S, t: &Tile) {
    const { assert!(MR <= MAX_MR) };
    debug_assert!(t.a.a_step == 1 && t.n == NC, "a dot tile reads adjacent elements of {NC} columns");
    let mut acc = [[s.zero(); NC]; MR];
    let mut b = t.b.cast::<f32>();
    for segment in 0..t.a.segments {
        let mut rows = [std::ptr::null::<f32>(); MR];
        for i in 0..MR {
            // SAFETY: the table has MR pointers for each segment, and `a_offset` stays inside each row.
            rows[i] = unsafe { (*t.a.rows.add(segment * t.a.row_stride + i)).add(t.a.a_offset) };
        }
        let whole = t.a.len / S::LANES * S::LANES;
        let mut k = 0;
        while k < whole {
            // SAFETY: each row, and each column of B from this segment on, has `len ≥ k + LANES` elements.
            acc = unsafe { step(s, acc, &rows, b, t.b_column, k, |p| s.load(p)) };
            k += S::LANES;
        }
        if k < t.a.len {
            let rest = t.a.len - k;
            // SAFETY: as above, for the `rest < LANES` last elements.
            acc = unsafe { step(s, acc, &rows, b, t.b_column, k, |p| load_lanes(s, p, rest)) };
        }
        // SAFETY: a column has `segments · len` elements, so the result is at most one past the end of the first.
        b = unsafe { b.add(t.a.len) };
    }
    // Every row is added up before the first is finished, so that the accumulators stay in registers.
    let mut sums = [[0.0; NC]; MR];
    for i in 0..MR {
        for j in 0..NC {
            sums[i][j] = s.sum(acc[i][j]);
        }
    }
    for (i, &sums) in sums[..t.m].iter().enumerate() {
        // SAFETY: the caller guarantees that C, the bias and the residual are valid.
        unsafe { finish_row(s, t, i, sums) }
    }
}

/// Finishes row `i` in scalars: vectors would be mostly empty.
///
/// # Safety
/// As for [`dot_tile`].
#[inline(always)]
unsafe fn finish_row<S: Simd, const NC: usize>(s: S, t: &Tile, i: usize, sums: [f32; NC]) {
    for (j, mut value) in sums.into_iter().enumerate() {
        // SAFETY: row `i < m` of C and of the residual has `NC` floats, and so does the bias.
        unsafe {
            let at = *t.out.add(i) + j;
            if !t.bias.is_null() {
                value += *t.bias.add(j);
            }
            if t.accumulate {
                value += *t.c.add(at);
            }
            if !t.residual.is_null() {
                value += *t.residual.add(at);
            }
            *t.c.add(at) = match t.activation.bounds() {
                // As the vector tile: a NaN passes.
                Some([low, high]) => {
                    let value = if low > value { low } else { value };
                    if high < value { high } else { value }
                }
                None => s.to_array(activate(s, t.activation, s.splat(value)))[0],
            };
        }
    }
}

/// Adds the products of one vector of the reduction, from element `k` on, which `load` reads.
///
/// # Safety
/// `load` may read `k` of each row, and of each of the `NC` columns from `b` on, `column` apart.
#[inline(always)]
unsafe fn step<S: Simd, const MR: usize, const NC: usize>(
    s: S,
    mut acc: [[S::F; NC]; MR],
    rows: &[*const f32; MR],
    b: *const f32,
    column: usize,
    k: usize,
    load: impl Fn(*const f32) -> S::F,
) -> [[S::F; NC]; MR] {
    let mut bv = [s.zero(); NC];
    for j in 0..NC {
        bv[j] = load(b.wrapping_add(j * column + k));
    }
    for i in 0..MR {
        let a = load(rows[i].wrapping_add(k));
        for j in 0..NC {
            acc[i][j] = s.fma(a, bv[j], acc[i][j]);
        }
    }
    acc
}
