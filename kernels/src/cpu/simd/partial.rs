//! Loads and stores of some lanes of a vector.

use super::Simd;
use std::ops::Range;

/// Reads `lanes` floats; the other lanes are zero.
///
/// # Safety
/// `p..p + lanes` is readable, and `lanes ≤ LANES`.
#[inline(always)]
pub(in crate::cpu) unsafe fn load_lanes<S: Simd>(s: S, p: *const f32, lanes: usize) -> S::F {
    // SAFETY: guaranteed by the caller.
    unsafe { if lanes == S::LANES { s.load(p) } else { s.load_partial(p, lanes) } }
}

/// Writes the first `lanes` floats.
///
/// # Safety
/// `p..p + lanes` is writable, and `lanes ≤ LANES`.
#[inline(always)]
pub(in crate::cpu) unsafe fn store_lanes<S: Simd>(s: S, p: *mut f32, v: S::F, lanes: usize) {
    // SAFETY: guaranteed by the caller.
    unsafe { if lanes == S::LANES { s.store(p, v) } else { s.store_partial(p, v, lanes) } }
}

/// Reads the bias of some channels, at most a vector; without one, −0, which changes no sum.
#[inline(always)]
pub(in crate::cpu) fn load_bias<S: Simd>(s: S, bias: Option<&[f32]>, channels: Range<usize>) -> S::F {
    match bias {
        Some(bias) => s.get(&bias[channels]),
        None => s.splat(-0.0),
    }
}
