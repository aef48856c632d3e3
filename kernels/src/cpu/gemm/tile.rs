//! The common inner kernel: a register tile of `C = A · B`. Every matrix product, every dense, masked or compact
//! convolution and every gradient of one runs on it. They differ only in how they find A's rows and pack B.
//!
//! ```text
//!            B panel, packed: k × NR, aligned          for segment in segments      (taps of a convolution)
//!            ┌───────────────┐                           for k in 0..len            (channels)
//!            │ b₀  b₁  b₂    │ ← NR/LANES vectors           load one row of B
//!            └───────────────┘                              for row in 0..MR        (unrolled)
//!  rows[0] → a ─┤acc acc acc│                                  broadcast rows[row][k]
//!  rows[1] → a ─┤acc acc acc│  MR × NR sums                    MR · NR/LANES fused multiply-adds
//!     ⋮          …            in registers               finish: + C or bias, residual, activation; store
//! ```
//!
//! A's rows are read in place through pointers, one per row and segment. A convolution of channels-last data is thus a
//! matrix product without an im2col matrix. A tap in the padding points to a row of zeros.
//!
//! Tile sizes: AVX-512 8×48 uses 24 accumulators, 3 vectors of B and one broadcast out of 32 registers. Its 24 FMAs
//! take 12 cycles on two ports, and its 11 loads take 6 on two load ports. AVX2 6×16 does the same with 16 registers.
//! Eight row pointers, the B pointer and the index also fit in the general-purpose registers.

use super::element::Element;
pub(in crate::cpu) use super::sizes::{MAX_MR, MAX_NR};
use crate::cpu::simd::Simd;
use crate::cpu::simd::activate::activate;
use crate::params::Activation;

/// The rows of A that a tile multiplies.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Rows {
    /// `rows[s * row_stride + i]` is the start of A's row `i` in segment `s`.
    pub rows: *const *const f32,
    pub row_stride: usize,
    /// The number of segments of the reduction, each with `len` steps.
    pub segments: usize,
    /// The number of steps per segment.
    pub len: usize,
    /// The offset added to each row pointer, in elements.
    pub a_offset: usize,
    /// The distance between consecutive elements of a row.
    pub a_step: usize,
}

/// The arguments of one tile. Columns beyond `n`, up to whole vectors, exist only in B, as zeros.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Tile {
    pub a: Rows,
    /// `segments · len` packed rows, fastest if 64-byte aligned. The kernel determines their layout and type.
    pub b: *const u8,
    /// The distance between columns of B in elements, for kernels that read it column by column.
    pub b_column: usize,
    /// Memory that later tiles will read. Each step prefetches one cache line of it.
    pub next: *const u8,
    /// Whether C and the residual may be far away, so that fetching them while the sums are computed pays.
    pub far: bool,
    /// Row `i` of C begins at `c + out[i]`.
    pub c: *mut f32,
    pub out: *const usize,
    /// The number of rows that exist in C, `1..=MR`; `n` is that of columns, `1..=NR`.
    pub m: usize,
    pub n: usize,
    /// Whether to add to C instead of overwriting it.
    pub accumulate: bool,
    /// `n` floats to add to each row, or null.
    pub bias: *const f32,
    /// A matrix with C's layout to add, or null.
    pub residual: *const f32,
    pub activation: Activation,
}

impl Tile {
    /// A tile of `[m, n]` sums, without an epilogue, that prefetches its own B.
    pub(in crate::cpu) fn new(
        a: Rows,
        b: &[u8],
        c: *mut f32,
        out: &[usize],
        [m, n]: [usize; 2],
        accumulate: bool,
    ) -> Self {
        let (b, out, none) = (b.as_ptr(), out.as_ptr(), std::ptr::null());
        let (bias, residual, activation) = (none, none, Activation::None);
        Self {
            a,
            b,
            b_column: 0,
            next: b,
            far: accumulate,
            c,
            out,
            m,
            n,
            accumulate,
            bias,
            residual,
            activation,
        }
    }
}

/// Computes a tile of at most `MR × NV` vectors. A single row, as in a linear layer with batch size 1, is limited by
/// the speed at which B arrives from memory. Up to half of the rows are a quarter of an 8×8 map, or its four tiles of
/// Winograd's F(4×4), and four of six rows are what a map of 4, 8, 16 … pixels squared leaves. These have loops of their own
/// that do no work for missing rows.
///
/// Each backend instantiates this inside a `#[target_feature]` function.
///
/// # Safety
/// The pointers of `t` are valid as their fields specify.
#[inline(always)]
pub(in crate::cpu) unsafe fn tile<S: Simd, E: Element, const MR: usize, const NV: usize>(s: S, t: &Tile) {
    // SAFETY: guaranteed by the caller; each loop has at least `m` rows and at most MR.
    unsafe {
        match (t.m, MR) {
            (1, _) => rows::<S, E, 1, NV>(s, t),
            (..=4, 8) => rows::<S, E, 4, NV>(s, t),
            (..=3, 6) => rows::<S, E, 3, NV>(s, t),
            (4, 6) => rows::<S, E, 4, NV>(s, t),
            (..=2, 4) => rows::<S, E, 2, NV>(s, t),
            _ => rows::<S, E, MR, NV>(s, t),
        }
    }
}

/// Computes a tile of `MR × NV` vectors.
///
/// # Safety
/// The pointers of `t` are valid as their fields specify.
#[inline(always)]
unsafe fn rows<S: Simd, E: Element, const MR: usize, const NV: usize>(s: S, t: &Tile) {
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
        for _ in 0..t.a.len {
            let mut bv = [s.zero(); NV];
            for j in 0..NV {
                // SAFETY: B has NR = NV · LANES elements for each of the `segments · len` steps.
                bv[j] = unsafe { E::load(s, b.add(j * S::LANES)) };
                if (j * S::LANES).is_multiple_of(LINE) {
                    prefetch(b.wrapping_add((AHEAD * NV + j) * S::LANES));
                }
            }
            prefetch_far(next);
            next = next.wrapping_add(64);
            for i in 0..MR {
                // SAFETY: from `a_offset` on, each row has `len` elements, `a_step` apart.
                let a = s.splat(unsafe { *rows[i].add(k) });
                for j in 0..NV {
                    acc[i][j] = s.fma(a, bv[j], acc[i][j]);
                }
            }
            k += t.a.a_step;
            // SAFETY: the result is at most one past the end of B.
            b = unsafe { b.add(NV * S::LANES) };
        }
    }
    let last = t.n.wrapping_sub((NV - 1) * S::LANES);
    if (1..=S::LANES).contains(&last) && t.activation.bounds().is_some() {
        // SAFETY: guaranteed by the caller; all vectors but the last one are whole.
        unsafe {
            if last == S::LANES {
                finish_vectors::<S, MR, NV, false>(s, t, acc, last);
            } else {
                finish_vectors::<S, MR, NV, true>(s, t, acc, last);
            }
        }
        return;
    }
    let mut sums = Sums([0.0; MAX_MR * MAX_NR]);
    for i in 0..MR {
        for j in 0..NV {
            // SAFETY: `sums` has room for MR ≤ MAX_MR rows of NV · LANES ≤ MAX_NR floats.
            unsafe { s.store(sums.0.as_mut_ptr().add((i * NV + j) * S::LANES), acc[i][j]) };
        }
    }
    for i in 0..t.m {
        // SAFETY: the caller guarantees that C, the bias and the residual are valid.
        unsafe { finish_row(s, t, i, &sums.0[i * NV * S::LANES..]) }
    }
}

/// Finishes a tile in registers. Its last vector has `last` lanes, and is `PARTIAL` if these are not all. Each step is a
/// loop simple enough to be unrolled. A loop over `acc` that is not unrolled would make the compiler keep it in memory
/// throughout the reduction. Activations other than clamps need more registers than are free, and therefore take the
/// other path, as do tiles with a vector without columns.
///
/// # Safety
/// As for [`tile`], and `n` is (NV − 1) · LANES + `last`.
#[inline(always)]
unsafe fn finish_vectors<S: Simd, const MR: usize, const NV: usize, const PARTIAL: bool>(
    s: S,
    t: &Tile,
    acc: [[S::F; NV]; MR],
    last: usize,
) {
    let mut acc = acc;
    let mut c = [t.c; MR];
    let mut residual = [t.residual; MR];
    for i in 0..MR {
        // SAFETY: `out` has an offset for each of the `m` rows that exist.
        let offset = unsafe { *t.out.add(i.min(t.m - 1)) };
        c[i] = t.c.wrapping_add(offset);
        residual[i] = t.residual.wrapping_add(offset);
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
                    let old = read::<S, PARTIAL>(s, c[i].add(j * S::LANES), j + 1 == NV, last);
                    acc[i][j] = s.add(acc[i][j], old);
                }
            }
        }
        if !t.residual.is_null() {
            for i in 0..MR {
                for j in 0..NV {
                    let residual = read::<S, PARTIAL>(s, residual[i].add(j * S::LANES), j + 1 == NV, last);
                    acc[i][j] = s.add(acc[i][j], residual);
                }
            }
        }
    }
    let acc = clamp(s, t.activation, acc);
    for i in 0..MR {
        if i < t.m {
            for j in 0..NV {
                // SAFETY: row `i < m` of C has `n` floats.
                unsafe {
                    if PARTIAL && j + 1 == NV {
                        s.store_partial(c[i].add(j * S::LANES), acc[i][j], last);
                    } else {
                        s.store(c[i].add(j * S::LANES), acc[i][j]);
                    }
                }
            }
        }
    }
}

/// Clamps sums to the bounds of the activation, if it has any.
#[inline(always)]
fn clamp<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    activation: Activation,
    mut acc: [[S::F; NV]; MR],
) -> [[S::F; NV]; MR] {
    if let Some([low, high]) = activation.bounds() {
        if low > f32::NEG_INFINITY {
            for i in 0..MR {
                for j in 0..NV {
                    acc[i][j] = s.max(s.splat(low), acc[i][j]);
                }
            }
        }
        if high < f32::INFINITY {
            for i in 0..MR {
                for j in 0..NV {
                    acc[i][j] = s.min(s.splat(high), acc[i][j]);
                }
            }
        }
    }
    acc
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

/// A tile's sums on their way from the registers to C.
#[repr(align(64))]
struct Sums([f32; MAX_MR * MAX_NR]);

/// Finishes row `i`: adds C if accumulating, the bias and the residual, applies the activation and stores `n` elements.
///
/// # Safety
/// As for [`tile`]; `sums` has `n` floats, rounded up to whole vectors.
#[inline(always)]
unsafe fn finish_row<S: Simd>(s: S, t: &Tile, i: usize, sums: &[f32]) {
    // SAFETY: row `i < m` of C and of the residual has `n` floats, and so does the bias.
    unsafe {
        let offset = *t.out.add(i);
        for column in (0..t.n).step_by(S::LANES) {
            let (at, lanes) = (offset + column, S::LANES.min(t.n - column));
            let mut v = s.load(sums.as_ptr().add(column));
            if !t.bias.is_null() {
                v = s.add(v, load_lanes(s, t.bias.add(column), lanes));
            }
            if t.accumulate {
                v = s.add(v, load_lanes(s, t.c.add(at), lanes));
            }
            if !t.residual.is_null() {
                v = s.add(v, load_lanes(s, t.residual.add(at), lanes));
            }
            store_lanes(s, t.c.add(at), activate(s, t.activation, v), lanes);
        }
    }
}

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
