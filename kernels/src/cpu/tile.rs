//! The one inner kernel: a register tile of `C = A · B`, on which every matrix product, dense, masked or
//! compact convolution and every gradient of one runs. They differ in how they find A's rows and pack B.
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
//! A's rows are read in place through pointers, one a row and segment: that is what makes a convolution over
//! channels-last data a matrix product without an im2col matrix. A tap that falls into the padding points to a
//! row of zeros.
//!
//! Tile sizes: AVX-512 8×48 uses 24 accumulators, 3 vectors of B and a broadcast of 32 registers: for 24 FMAs
//! (12 cycles on two ports) it loads 11 times, which two load ports do in 6. AVX2 6×16 does the same with 16
//! registers. Eight row pointers, the B pointer and the index also fit the general registers.

use super::simd::Simd;
use crate::params::Activation;
use half::bf16;

/// The most rows of a tile on any instruction set.
pub(super) const MAX_MR: usize = 8;
/// The most columns of a tile on any instruction set.
pub(super) const MAX_NR: usize = 48;

/// The arguments of one tile. `LANES`-wide columns beyond `n` exist in B (as zeros) and nowhere else.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Segments of the reduction, each of `len` steps.
    pub segments: usize,
    /// Steps in a segment.
    pub len: usize,
    /// `rows[s * row_stride + i]` is the start of A's row `i` in segment `s`.
    pub rows: *const *const f32,
    pub row_stride: usize,
    /// Added to each row pointer, in elements.
    pub a_offset: usize,
    /// Distance between a row's consecutive elements.
    pub a_step: usize,
    /// `segments · len` rows of NR elements, fastest when 64-byte aligned; of which type, the kernel knows.
    pub b: *const u8,
    /// What the tiles after this one will read of B: a cache line of it is asked for in each step.
    pub next: *const u8,
    /// Row `i` of C begins at `c + out[i]`.
    pub c: *mut f32,
    pub out: *const usize,
    /// Rows and columns that exist in C: `1..=MR` and `1..=NR`.
    pub m: usize,
    pub n: usize,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
    /// `n` floats that are added to each row, or null.
    pub bias: *const f32,
    /// A matrix laid out as C that is added, or null.
    pub residual: *const f32,
    pub activation: Activation,
}

/// A tile kernel of one size.
pub(super) struct TileKernel {
    /// Operation, rows × columns, instruction set.
    pub name: &'static str,
    /// The same for B of bf16.
    pub name_bf16: &'static str,
    pub mr: usize,
    pub nr: usize,
    /// # Safety
    /// The instruction set is present, and each pointer of the tile is valid for what its field says.
    pub run: unsafe fn(&Tile),
    /// The same for B of bf16.
    pub run_bf16: unsafe fn(&Tile),
}

/// What B is made of.
pub(super) trait Element {
    /// Reads a vector of them as f32.
    ///
    /// # Safety
    /// `p..p + LANES` is readable.
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load(p) }
    }
}

impl Element for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const bf16) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_bf16(p) }
    }
}

/// Computes a tile of at most `MR × NV` vectors. A single row, as in a linear layer of batch 1, runs as fast as B
/// comes from memory: it has a loop of its own, which does no work for missing rows.
///
/// Each backend instantiates this inside a `#[target_feature]` function.
///
/// # Safety
/// The pointers of `t` are valid for what their fields say.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, E: Element, const MR: usize, const NV: usize>(s: S, t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { if t.m == 1 { rows::<S, E, 1, NV>(s, t) } else { rows::<S, E, MR, NV>(s, t) } }
}

/// Computes a tile of `MR × NV` vectors.
///
/// # Safety
/// The pointers of `t` are valid for what their fields say.
#[inline(always)]
unsafe fn rows<S: Simd, E: Element, const MR: usize, const NV: usize>(s: S, t: &Tile) {
    if t.accumulate {
        // C is far away when its rows are long: ask for it now, use it after the loop.
        for i in 0..t.m {
            for column in (0..t.n).step_by(LINE) {
                // SAFETY: `out` has an offset for each row that exists.
                prefetch(t.c.wrapping_add(unsafe { *t.out.add(i) } + column));
            }
        }
    }
    let mut acc = [[s.zero(); NV]; MR];
    let (mut b, mut next) = (t.b.cast::<E>(), t.next);
    for segment in 0..t.segments {
        let mut rows = [std::ptr::null::<f32>(); MR];
        for i in 0..MR {
            // SAFETY: the table has MR pointers for each segment, and `a_offset` stays inside each row.
            rows[i] = unsafe { (*t.rows.add(segment * t.row_stride + i)).add(t.a_offset) };
        }
        let mut k = 0;
        for _ in 0..t.len {
            let mut bv = [s.zero(); NV];
            for j in 0..NV {
                // SAFETY: B has NR = NV · LANES elements for each of the `segments · len` steps.
                bv[j] = unsafe { E::load(s, b.add(j * S::LANES)) };
                prefetch(b.wrapping_add((AHEAD * NV + j) * S::LANES));
            }
            prefetch_far(next);
            next = next.wrapping_add(64);
            for i in 0..MR {
                // SAFETY: each row has `len` elements at distance `a_step`.
                let a = s.splat(unsafe { *rows[i].add(k) });
                for j in 0..NV {
                    acc[i][j] = s.fma(a, bv[j], acc[i][j]);
                }
            }
            k += t.a_step;
            // SAFETY: at most one past the end of B.
            b = unsafe { b.add(NV * S::LANES) };
        }
    }
    if t.n == NV * S::LANES {
        // SAFETY: the caller's promise, for whole vectors.
        unsafe { finish_whole(s, t, acc) }
        return;
    }
    let mut sums = Sums([0.0; MAX_MR * MAX_NR]);
    for i in 0..MR {
        for j in 0..NV {
            // SAFETY: MR ≤ MAX_MR rows of NV · LANES ≤ MAX_NR floats.
            unsafe { s.store(sums.0.as_mut_ptr().add((i * NV + j) * S::LANES), acc[i][j]) };
        }
    }
    for i in 0..t.m {
        // SAFETY: the caller's promise about C, bias and residual.
        unsafe { finish_row(s, t, i, &sums.0[i * NV * S::LANES..]) }
    }
}

/// Ends a tile whose vectors are whole, in the registers. Each step is a loop simple enough to be unrolled: a use of
/// `acc` that is not would make the compiler keep it in memory throughout the reduction.
///
/// # Safety
/// As for [`tile`], and `n` is NV · LANES.
#[inline(always)]
unsafe fn finish_whole<S: Simd, const MR: usize, const NV: usize>(s: S, t: &Tile, acc: [[S::F; NV]; MR]) {
    let mut acc = acc;
    let mut c = [t.c; MR];
    let mut residual = [t.residual; MR];
    for i in 0..MR {
        // SAFETY: `out` has an offset for each of the `m` rows that exist.
        let offset = unsafe { *t.out.add(i.min(t.m - 1)) };
        c[i] = t.c.wrapping_add(offset);
        residual[i] = t.residual.wrapping_add(offset);
    }
    // SAFETY: the bias has `n` floats; rows `i < m` of C and of the residual have, and the others stand for the last.
    unsafe {
        if !t.bias.is_null() {
            for j in 0..NV {
                let bias = s.load(t.bias.add(j * S::LANES));
                for i in 0..MR {
                    acc[i][j] = s.add(acc[i][j], bias);
                }
            }
        }
        if t.accumulate {
            for i in 0..MR {
                for j in 0..NV {
                    acc[i][j] = s.add(acc[i][j], s.load(c[i].add(j * S::LANES)));
                }
            }
        }
        if !t.residual.is_null() {
            for i in 0..MR {
                for j in 0..NV {
                    acc[i][j] = s.add(acc[i][j], s.load(residual[i].add(j * S::LANES)));
                }
            }
        }
    }
    for i in 0..MR {
        for j in 0..NV {
            acc[i][j] = activate(s, t.activation, acc[i][j]);
        }
    }
    for i in 0..MR {
        if i < t.m {
            for j in 0..NV {
                // SAFETY: row `i < m` of C has `n` floats.
                unsafe { s.store(c[i].add(j * S::LANES), acc[i][j]) };
            }
        }
    }
}

/// Steps of the reduction by which B is asked for in advance. The processor's own prefetcher follows a panel that is in
/// the second-level cache; the first tile of a panel, which reads it from farther away, is half as fast without this.
const AHEAD: usize = 24;

/// Floats in a cache line.
const LINE: usize = 16;

/// Asks for a cache line without waiting for it. Any address is allowed.
#[inline(always)]
fn prefetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Asks for a cache line, in the second-level cache.
#[inline(always)]
fn prefetch_far<T>(p: *const T) {
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

/// Adds to row `i` what is to be added, applies the activation and stores the `n` elements that exist.
///
/// # Safety
/// As for [`tile`]; `sums` has `n` floats, rounded up to whole vectors.
#[inline(always)]
unsafe fn finish_row<S: Simd>(s: S, t: &Tile, i: usize, sums: &[f32]) {
    // SAFETY: row `i < m` of C, and of the residual, has `n` floats, as has the bias.
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

/// The activation of each lane; a NaN stays NaN.
#[inline(always)]
pub(super) fn activate<S: Simd>(s: S, activation: Activation, v: S::F) -> S::F {
    match activation {
        Activation::None => v,
        Activation::Relu => s.max(s.zero(), v),
        Activation::Relu6 => s.min(s.splat(6.0), s.max(s.zero(), v)),
    }
}

/// # Safety
/// `p..p + lanes` is readable, `lanes ≤ LANES`.
#[inline(always)]
pub(super) unsafe fn load_lanes<S: Simd>(s: S, p: *const f32, lanes: usize) -> S::F {
    // SAFETY: the caller's promise.
    unsafe { if lanes == S::LANES { s.load(p) } else { s.load_partial(p, lanes) } }
}

/// # Safety
/// `p..p + lanes` is writable, `lanes ≤ LANES`.
#[inline(always)]
pub(super) unsafe fn store_lanes<S: Simd>(s: S, p: *mut f32, v: S::F, lanes: usize) {
    // SAFETY: the caller's promise.
    unsafe { if lanes == S::LANES { s.store(p, v) } else { s.store_partial(p, v, lanes) } }
}
