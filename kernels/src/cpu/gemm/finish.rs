//! The end of a register tile: bias, sum with C or with a residual, activation, and the store.

use super::operands::Tile;
use crate::cpu::simd::Simd;
use crate::cpu::simd::activate::{activate, clamp};
use crate::cpu::simd::partial::{load_lanes, store_lanes};

/// The bounds of an activation that is a clamp.
pub(super) type Bounds = Option<[f32; 2]>;

/// Finishes a tile in registers, of whose MR rows `t.m` exist: all if it is `FULL`. Its last vector has `last` lanes, and is
/// `PARTIAL` if these are not all. Each step is a loop simple enough to be unrolled. A loop over `acc` that is not unrolled
/// would make the compiler keep it in memory throughout the reduction.
///
/// # Safety
/// The pointers of `t` are valid as their fields specify, and `n` is (NV − 1) · LANES + `last`.
#[inline(always)]
pub(super) unsafe fn finish<
    S: Simd,
    const MR: usize,
    const NV: usize,
    const FULL: bool,
    const PARTIAL: bool,
>(
    s: S,
    t: &Tile,
    bounds: Bounds,
    acc: [[S::F; NV]; MR],
    last: usize,
) {
    let mut acc = acc;
    let mut at = [0; MR];
    for i in 0..MR {
        // SAFETY: `out` has an offset for each of the `m` rows that exist.
        at[i] = unsafe { *t.out.add(if FULL { i } else { i.min(t.m - 1) }) };
    }
    // SAFETY: the bias has `n` floats, and so do rows `i < m` of C and of the residual; the other rows repeat the last.
    unsafe {
        if !t.bias.is_null() {
            for j in 0..NV {
                let bias = read::<S, PARTIAL>(s, t.bias.add(j * S::LANES), j + 1 == NV, last);
                for i in 0..MR {
                    acc[i][j] = s.add(acc[i][j], bias);
                }
            }
        }
        if t.accumulate {
            for i in 0..MR {
                for j in 0..NV {
                    let old = read::<S, PARTIAL>(s, t.c.add(at[i] + j * S::LANES), j + 1 == NV, last);
                    acc[i][j] = s.add(acc[i][j], old);
                }
            }
        }
        if !t.residual.is_null() {
            for i in 0..MR {
                for j in 0..NV {
                    let other =
                        read::<S, PARTIAL>(s, t.residual.add(at[i] + j * S::LANES), j + 1 == NV, last);
                    acc[i][j] = s.add(acc[i][j], other);
                }
            }
        }
    }
    if let Some([low, high]) = bounds
        && (low > f32::NEG_INFINITY || high < f32::INFINITY)
    {
        for i in 0..MR {
            for j in 0..NV {
                acc[i][j] = clamp(s, [low, high], acc[i][j]);
            }
        }
    }
    for i in 0..MR {
        if FULL || i < t.m {
            for j in 0..NV {
                // SAFETY: row `i < m` of C has `n` floats.
                unsafe {
                    let c = t.c.add(at[i] + j * S::LANES);
                    if PARTIAL && j + 1 == NV {
                        s.store_partial(c, acc[i][j], last);
                    } else {
                        s.store(c, acc[i][j]);
                    }
                }
            }
        }
    }
    if bounds.is_none() {
        // SAFETY: guaranteed by the caller.
        unsafe { activate_stored(s, t) }
    }
}

/// Applies an activation that is not a clamp to the rows of C. A function that is called while the sums are in registers
/// would push them out.
///
/// # Safety
/// `out` has an offset for each row `i < m`, and these rows have `n` floats.
#[inline(always)]
unsafe fn activate_stored<S: Simd>(s: S, t: &Tile) {
    for i in 0..t.m {
        for column in (0..t.n).step_by(S::LANES) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let (c, lanes) = (t.c.add(*t.out.add(i) + column), S::LANES.min(t.n - column));
                store_lanes(s, c, activate(s, t.activation, load_lanes(s, c, lanes)), lanes);
            }
        }
    }
}

/// Reads a vector, or `lanes` floats of it if it is `PARTIAL` and the last one of a row.
///
/// # Safety
/// These floats are readable.
#[inline(always)]
unsafe fn read<S: Simd, const PARTIAL: bool>(s: S, p: *const f32, is_last: bool, lanes: usize) -> S::F {
    // SAFETY: guaranteed by the caller.
    unsafe { if PARTIAL && is_last { s.load_partial(p, lanes) } else { s.load(p) } }
}
