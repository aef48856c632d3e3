//! The common inner kernel: a register tile of `C = A · B`. Every matrix product, every dense, masked or compact
//! convolution and every gradient of one runs on it. They differ only in how they find A's rows and pack B.
//!
//! ```text
//!                                                      for block of MR rows           (windows of a task)
//!            B panel, packed: k × NR, aligned            for segment in segments      (taps of a convolution)
//!            ┌───────────────┐                             for k in 0..len            (channels; four at a time)
//!            │ b₀  b₁  b₂    │ ← NR/LANES vectors             load one row of B
//!            └───────────────┘                                for row in 0..MR        (unrolled)
//!  rows[0] → a ─┤acc acc acc│                                    broadcast rows[row][k]
//!  rows[1] → a ─┤acc acc acc│  MR × NR sums                      MR · NR/LANES fused multiply-adds
//!     ⋮          …            in registers                 finish: + C or bias, residual, activation; store
//! ```
//!
//! With few channels, to call a kernel and to prepare it takes as long as the products of a tile. So a call computes all
//! tiles of a task that share B, and steps share the branch at the end of their loop, which is then predicted.
//!
//! A's rows are read in place through pointers, one per row and segment. A convolution of channels-last data is thus a
//! matrix product without an im2col matrix. A tap in the padding points to a row of zeros.
//!
//! Tile sizes: AVX-512 8×48 uses 24 accumulators, 3 vectors of B and one broadcast out of 32 registers. Its 24 FMAs
//! take 12 cycles on two ports, and its 11 loads take 6 on two load ports. AVX2 6×16 does the same with 16 registers.
//! Eight row pointers, the B pointer and the index also fit in the general-purpose registers.

use super::element::Element;
use super::finish::{Bounds, finish};
pub(in crate::cpu) use super::operands::{Rows, Tile};
pub(in crate::cpu) use super::sizes::{MAX_MR, MAX_NR};
use crate::cpu::simd::Simd;

/// Computes tiles of at most `MR × NV` vectors.
///
/// Each backend instantiates this inside a `#[target_feature]` function.
///
/// # Panics
/// Panics if a vector of a row has no columns.
///
/// # Safety
/// The pointers of `t` are valid as their fields specify.
#[inline(always)]
pub(in crate::cpu) unsafe fn tile<S: Simd, E: Element, const MR: usize, const NV: usize>(s: S, t: &Tile) {
    let bounds = t.activation.bounds();
    let last = t.n.wrapping_sub((NV - 1) * S::LANES);
    assert!((1..=S::LANES).contains(&last), "{} columns take {NV} vectors", t.n);
    for t in t.blocks(MR) {
        // SAFETY: guaranteed by the caller; a block has at most MR rows, and adjacent elements if `a_step` is 1.
        unsafe {
            if t.a.a_step == 1 {
                block::<S, E, MR, NV, true>(s, &t, bounds);
            } else {
                block::<S, E, MR, NV, false>(s, &t, bounds);
            }
        }
    }
}

/// Computes a tile of at most MR rows. A single row, as in a linear layer with batch size 1, is limited by the speed at
/// which B arrives from memory. Up to half of the rows are a quarter of an 8×8 map, or its four tiles of Winograd's F(4×4),
/// and four of six rows are what a map of 4, 8, 16 … pixels squared leaves. These have loops of their own that do no work for
/// missing rows.
///
/// # Safety
/// As for [`tile`], `t.m` is at most MR, and `a_step` is 1 if the elements of A are `ADJACENT`.
#[inline(always)]
unsafe fn block<S: Simd, E: Element, const MR: usize, const NV: usize, const ADJACENT: bool>(
    s: S,
    t: &Tile,
    bounds: Bounds,
) {
    // SAFETY: guaranteed by the caller; each loop has at least `m` rows, and `m` if it is `FULL`.
    unsafe {
        match (t.m, MR) {
            (m, _) if m == MR => rows::<S, E, MR, NV, ADJACENT, true>(s, t, bounds),
            (1, _) => rows::<S, E, 1, NV, ADJACENT, true>(s, t, bounds),
            (4, 6) => rows::<S, E, 4, NV, ADJACENT, true>(s, t, bounds),
            (..=4, 8) => rows::<S, E, 4, NV, ADJACENT, false>(s, t, bounds),
            (..=3, 6) => rows::<S, E, 3, NV, ADJACENT, false>(s, t, bounds),
            (..=2, 4) => rows::<S, E, 2, NV, ADJACENT, false>(s, t, bounds),
            _ => rows::<S, E, MR, NV, ADJACENT, false>(s, t, bounds),
        }
    }
}

/// Computes a tile of `MR × NV` vectors, of whose rows `t.m` exist: all if it is `FULL`.
///
/// # Safety
/// As for [`block`].
#[inline(always)]
unsafe fn rows<
    S: Simd,
    E: Element,
    const MR: usize,
    const NV: usize,
    const ADJACENT: bool,
    const FULL: bool,
>(
    s: S,
    t: &Tile,
    bounds: Bounds,
) {
    if t.far {
        for i in 0..t.m {
            for column in (0..t.n).step_by(LINE) {
                // SAFETY: `out` has an offset for each row that exists.
                let at = unsafe { *t.out.add(i) } + column;
                prefetch(t.c.wrapping_add(at));
                if !t.residual.is_null() {
                    prefetch(t.residual.wrapping_add(at));
                }
            }
        }
    }
    let mut acc = [[s.zero(); NV]; MR];
    let (mut b, mut next) = (t.b.cast::<E>(), t.next);
    for segment in 0..t.a.segments {
        let mut rows = [std::ptr::null::<f32>(); MR];
        for i in 0..MR {
            // SAFETY: the table has MR pointers for each segment.
            rows[i] = unsafe { *t.a.rows.add(segment * t.a.row_stride + i) };
        }
        // One index for all rows: with the offset in each pointer, the compiler would advance every one of them.
        let mut k = t.a.a_offset;
        let (groups, stride) = if ADJACENT { (t.a.len / UNROLLED, 1) } else { (0, t.a.a_step) };
        for _ in 0..groups {
            for i in 0..UNROLLED {
                let (b, next) = (b.wrapping_add(i * NV * S::LANES), next.wrapping_add(i * 64));
                // SAFETY: B and the rows have `len` steps of each segment.
                acc = unsafe { step(s, acc, (&rows, k + i), b, next) };
            }
            k += UNROLLED;
            b = b.wrapping_add(UNROLLED * NV * S::LANES);
            next = next.wrapping_add(UNROLLED * 64);
        }
        for _ in groups * UNROLLED..t.a.len {
            // SAFETY: as above.
            acc = unsafe { step(s, acc, (&rows, k), b, next) };
            k += stride;
            b = b.wrapping_add(NV * S::LANES);
            next = next.wrapping_add(64);
        }
    }
    let last = t.n - (NV - 1) * S::LANES;
    // SAFETY: guaranteed by the caller; all vectors but the last one are whole, which has columns, as `tile` asserts.
    unsafe {
        if last == S::LANES {
            finish::<S, MR, NV, FULL, false>(s, t, bounds, acc, last);
        } else {
            finish::<S, MR, NV, FULL, true>(s, t, bounds, acc, last);
        }
    }
}

/// The number of steps that share a branch, if the elements of A are adjacent. With another distance, known only when the
/// program runs, the compiler would keep a pointer to each step of each row, and run out of registers.
const UNROLLED: usize = 4;

/// Adds the products of element `k` of each row and the row `b` of B.
///
/// # Safety
/// These elements are readable; B has NR = NV · LANES of them.
#[inline(always)]
unsafe fn step<S: Simd, E: Element, const MR: usize, const NV: usize>(
    s: S,
    mut acc: [[S::F; NV]; MR],
    (rows, k): (&[*const f32; MR], usize),
    b: *const E,
    next: *const u8,
) -> [[S::F; NV]; MR] {
    let mut bv = [s.zero(); NV];
    for j in 0..NV {
        // SAFETY: guaranteed by the caller.
        bv[j] = unsafe { E::load(s, b.add(j * S::LANES)) };
        if (j * S::LANES).is_multiple_of(LINE) {
            prefetch(b.wrapping_add((AHEAD * NV + j) * S::LANES));
        }
    }
    prefetch_far(next);
    for i in 0..MR {
        // SAFETY: guaranteed by the caller.
        let a = s.splat(unsafe { *rows[i].add(k) });
        for j in 0..NV {
            acc[i][j] = s.fma(a, bv[j], acc[i][j]);
        }
    }
    acc
}

/// The number of steps of the reduction by which B is prefetched in advance. The hardware prefetcher keeps up with a
/// panel in the L2 cache, but the first tile of a panel reads it from farther away and is half as fast without this.
const AHEAD: usize = 24;

/// The number of floats in a cache line.
const LINE: usize = 16;

/// Prefetches a cache line into the L1 cache. Any address is allowed.
#[inline(always)]
pub(in crate::cpu) fn prefetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Prefetches a cache line that will be written into the L1 cache, where no other core then has a copy. Any address is
/// allowed.
#[inline(always)]
pub(in crate::cpu) fn prefetch_for_write<T>(p: *mut T) {
    // Miri runs no assembly.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch never faults, and processors that do not know this one take it for no operation.
    unsafe {
        std::arch::asm!("prefetchw byte ptr [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = p;
}

/// Prefetches a cache line into the L2 cache. Any address is allowed.
#[inline(always)]
pub(in crate::cpu) fn prefetch_far<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
