//! The AVX-512 backend: sixteen lanes, with masked partial loads and stores.

use crate::cpu::gemm::dot_tile::dot_tile;
use crate::cpu::gemm::tile::{Tile, tile};
use crate::cpu::gemm::tile_kernel::TileKernel;
use crate::cpu::simd::avx2::{gather_four, sum_of_eight};
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use half::bf16;
use std::arch::x86_64::*;

/// A proof that the machine has POPCNT and AVX-512 F, VL, BW and DQ. (With only F, the compiler spills registers.)
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    /// Returns `None` if the machine lacks a feature.
    pub fn new() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("popcnt");
        present.then_some(Self(()))
    }
}

/// Defines operations of one instruction each, which share a safety argument.
macro_rules! operations {
    ($($name:ident($($argument:ident),*) = $value:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: Self::F),*) -> Self::F {
            // SAFETY: `self` proves that the machine has AVX-512.
            unsafe { $value }
        }
    )*};
}

impl Simd for Avx512 {
    type F = __m512;
    type Set = __mmask16;
    const LANES: usize = 16;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,popcnt")]
        fn vectorized<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` proves that the machine has the features.
        unsafe { vectorized(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the caller guarantees sixteen readable floats.
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> __m512 {
        // The numbers become the upper halves of the lanes.
        // SAFETY: the caller guarantees sixteen readable numbers; `self` proves that the machine has AVX-512.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: the caller guarantees sixteen writable floats.
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn load_partial(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: the masked load reads `n` floats, which the caller guarantees to be readable.
        unsafe { _mm512_maskz_loadu_ps(first(n), p) }
    }

    #[inline(always)]
    unsafe fn store_partial(self, p: *mut f32, v: __m512, n: usize) {
        // SAFETY: the masked store writes `n` floats, which the caller guarantees to be writable.
        unsafe { _mm512_mask_storeu_ps(p, first(n), v) }
    }

    operations! {
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        fma(a, b, c) = _mm512_fmadd_ps(a, b, c);
        max(a, b) = _mm512_max_ps(a, b);
        min(a, b) = _mm512_min_ps(a, b);
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        // SAFETY: `self` proves that the machine has AVX-512.
        unsafe {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            sum_of_eight(eight)
        }
    }

    #[inline(always)]
    fn set(self, bits: u32) -> __mmask16 {
        bits as __mmask16
    }

    #[inline(always)]
    fn shift_up(self, before: __m512, v: __m512, keep: __mmask16) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512.
        unsafe {
            let (v, before) = (_mm512_castps_si512(v), _mm512_castps_si512(before));
            _mm512_castsi512_ps(_mm512_maskz_alignr_epi32::<15>(keep, v, before))
        }
    }

    #[inline(always)]
    fn shift_down(self, v: __m512, after: __m512, keep: __mmask16) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512.
        unsafe {
            let (v, after) = (_mm512_castps_si512(v), _mm512_castps_si512(after));
            _mm512_castsi512_ps(_mm512_maskz_alignr_epi32::<1>(keep, after, v))
        }
    }

    #[inline(always)]
    fn deinterleave(self, a: __m512, b: __m512) -> [__m512; 2] {
        // SAFETY: `self` proves that the machine has AVX-512.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
        }
    }

    #[inline(always)]
    fn transpose(self, rows: [__m512; MAX_LANES]) -> [__m512; MAX_LANES] {
        // SAFETY: `self` proves that the machine has AVX-512.
        unsafe {
            // Blocks of 4×4 within the quarters of four rows: `quads[4 i + j]` has column `4 q + j` in quarter q.
            let mut quads = rows;
            for i in (0..16).step_by(4) {
                let low =
                    [_mm512_unpacklo_ps(rows[i], rows[i + 1]), _mm512_unpacklo_ps(rows[i + 2], rows[i + 3])];
                let high =
                    [_mm512_unpackhi_ps(rows[i], rows[i + 1]), _mm512_unpackhi_ps(rows[i + 2], rows[i + 3])];
                quads[i] = _mm512_shuffle_ps::<0x44>(low[0], low[1]);
                quads[i + 1] = _mm512_shuffle_ps::<0xee>(low[0], low[1]);
                quads[i + 2] = _mm512_shuffle_ps::<0x44>(high[0], high[1]);
                quads[i + 3] = _mm512_shuffle_ps::<0xee>(high[0], high[1]);
            }
            // The quarters of four vectors, as a 4×4 matrix of quarters.
            let mut columns = rows;
            for j in 0..4 {
                let even = _mm512_shuffle_f32x4::<0x88>(quads[j], quads[4 + j]);
                let odd = _mm512_shuffle_f32x4::<0xdd>(quads[j], quads[4 + j]);
                let even_below = _mm512_shuffle_f32x4::<0x88>(quads[8 + j], quads[12 + j]);
                let odd_below = _mm512_shuffle_f32x4::<0xdd>(quads[8 + j], quads[12 + j]);
                columns[j] = _mm512_shuffle_f32x4::<0x88>(even, even_below);
                columns[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd, odd_below);
                columns[8 + j] = _mm512_shuffle_f32x4::<0xdd>(even, even_below);
                columns[12 + j] = _mm512_shuffle_f32x4::<0xdd>(odd, odd_below);
            }
            columns
        }
    }

    #[inline(always)]
    fn fma_one(self, a: f32, b: f32, c: f32) -> f32 {
        scalar(a).mul_add(b, c)
    }

    #[inline(always)]
    fn expand(self, v: __m512, mask: u32) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512.
        unsafe { _mm512_maskz_expand_ps(mask as __mmask16, in_register(v)) }
    }

    #[inline(always)]
    unsafe fn gather(self, p: *const f32, places: &[u16]) -> __m512 {
        let (fours, _) = places.as_chunks::<4>();
        // SAFETY: the caller guarantees that each place is readable.
        unsafe {
            let lower = _mm256_set_m128(gather_four(p, fours[1]), gather_four(p, fours[0]));
            let upper = _mm256_set_m128(gather_four(p, fours[3]), gather_four(p, fours[2]));
            _mm512_insertf32x8::<1>(_mm512_castps256_ps512(lower), upper)
        }
    }

    #[inline(always)]
    fn compress(self, v: __m512, mask: u32) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512.
        unsafe { _mm512_maskz_compress_ps(mask as __mmask16, v) }
    }

    #[inline(always)]
    fn select(self, mask: u32, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the machine has AVX-512.
        unsafe { _mm512_mask_blend_ps(mask as __mmask16, b, a) }
    }

    #[inline(always)]
    fn to_array(self, v: __m512) -> [f32; MAX_LANES] {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: `lanes` has sixteen floats.
        unsafe { self.store(lanes.as_mut_ptr(), v) };
        lanes
    }
}

/// Keeps the compiler from turning scalar operations on numbers from scattered places into gathers, which take more
/// cycles than the loads that they replace.
#[inline(always)]
fn scalar(x: f32) -> f32 {
    // Miri does not support inline assembly.
    #[cfg(not(miri))]
    {
        let mut x = x;
        // SAFETY: there is no instruction, only a comment that names the register.
        unsafe {
            std::arch::asm!("/* {0} */", inout(xmm_reg) x, options(pure, nomem, nostack, preserves_flags))
        };
        x
    }
    #[cfg(miri)]
    x
}

/// Keeps the compiler from merging a load of `v` with the instruction that uses it: an expansion from memory takes
/// twice as long as one from a register on Zen 4, and longer on Intel's cores, too.
///
/// # Safety
/// The machine has AVX-512.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn in_register(v: __m512) -> __m512 {
    // Miri does not support inline assembly.
    #[cfg(not(miri))]
    {
        let mut v = v;
        // SAFETY: there is no instruction, only a comment that names the register.
        unsafe {
            std::arch::asm!("/* {0} */", inout(zmm_reg) v, options(pure, nomem, nostack, preserves_flags))
        };
        v
    }
    #[cfg(miri)]
    v
}

/// The mask of the first `n ≤ 16` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

/// Instantiates the tile kernel with `vectors` columns of sixteen and a B of type `element`.
macro_rules! tile_kernel {
    ($name:ident, $element:ty, $vectors:literal) => {{
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
        unsafe fn $name(t: &Tile) {
            // SAFETY: the caller guarantees the features and a valid tile.
            unsafe { tile::<Avx512, $element, 8, $vectors>(Avx512(()), t) }
        }
        TileKernel::new::<$element>(stringify!($name), [8, 16 * $vectors], $name)
    }};
}

/// Tile kernels, grouped by types and ordered by the number of vectors in a row, starting at one.
pub(in crate::cpu) static TILES: [TileKernel; 6] = [
    tile_kernel!(gemm_8x16_avx512, f32, 1),
    tile_kernel!(gemm_8x32_avx512, f32, 2),
    tile_kernel!(gemm_8x48_avx512, f32, 3),
    tile_kernel!(gemm_8x16_avx512_bf16, bf16, 1),
    tile_kernel!(gemm_8x32_avx512_bf16, bf16, 2),
    tile_kernel!(gemm_8x48_avx512_bf16, bf16, 3),
];

/// Instantiates the dot tile for `columns` columns.
macro_rules! dot_kernel {
    ($name:ident, $columns:literal) => {{
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
        unsafe fn $name(t: &Tile) {
            // SAFETY: the caller guarantees the features and a valid tile.
            unsafe { dot_tile::<Avx512, 8, $columns>(Avx512(()), t) }
        }
        TileKernel::by_columns(stringify!($name), [8, $columns], $name)
    }};
}

/// Kernels for the last columns of a product, ordered by their number of columns, starting at one.
pub(in crate::cpu) static DOTS: [TileKernel; 3] =
    [dot_kernel!(dot_8x1_avx512, 1), dot_kernel!(dot_8x2_avx512, 2), dot_kernel!(dot_8x3_avx512, 3)];
