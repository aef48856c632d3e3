//! The AVX2 and FMA backend: eight lanes, with masked partial loads and stores.

use crate::cpu::gemm::dot_tile::dot_tile;
use crate::cpu::gemm::tile::{Tile, tile};
use crate::cpu::gemm::tile_kernel::TileKernel;
use crate::cpu::simd::moves::{COMPRESS, EXPAND, EXPAND_BF16, EXPAND_HALVES, Moves, ZERO};
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use half::bf16;
use std::arch::x86_64::*;

/// A proof that the machine has AVX2, FMA and POPCNT.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// Returns `None` if the machine lacks a feature.
    pub fn new() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("popcnt");
        present.then_some(Self(()))
    }
}

/// Defines operations of one instruction each, which share a safety argument.
macro_rules! operations {
    ($($name:ident($($argument:ident),*) = $value:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: Self::F),*) -> Self::F {
            // SAFETY: `self` proves that the machine has AVX2 and FMA.
            unsafe { $value }
        }
    )*};
}

impl Simd for Avx2 {
    type F = __m256;
    type Set = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,popcnt")]
        fn vectorized<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` proves that the machine has the features.
        unsafe { vectorized(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: the caller guarantees eight readable floats.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> __m256 {
        // The numbers become the upper halves of the lanes.
        // SAFETY: the caller guarantees eight readable numbers; `self` proves that the machine has AVX2.
        unsafe {
            let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
        }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: the caller guarantees eight writable floats.
        unsafe { _mm256_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn load_partial(self, p: *const f32, n: usize) -> __m256 {
        // SAFETY: the masked load reads `n ≤ 8` floats, which the caller guarantees to be readable.
        unsafe { _mm256_maskload_ps(p, first(n)) }
    }

    #[inline(always)]
    unsafe fn store_partial(self, p: *mut f32, v: __m256, n: usize) {
        debug_assert!(n <= 8);
        // A masked store is microcode on AMD's processors before Zen 4, and takes a dozen cycles.
        // SAFETY: the parts are `n ≤ 8` floats together, which the caller guarantees to be writable.
        unsafe {
            if n >= 8 {
                return _mm256_storeu_ps(p, v);
            }
            let (mut p, mut rest) = (p, _mm256_castps256_ps128(v));
            if n & 4 != 0 {
                _mm_storeu_ps(p, rest);
                (p, rest) = (p.add(4), _mm256_extractf128_ps::<1>(v));
            }
            if n & 2 != 0 {
                _mm_storel_epi64(p.cast(), _mm_castps_si128(rest));
                (p, rest) = (p.add(2), _mm_movehl_ps(rest, rest));
            }
            if n & 1 != 0 {
                _mm_store_ss(p, rest);
            }
        }
    }

    operations! {
        add(a, b) = _mm256_add_ps(a, b);
        sub(a, b) = _mm256_sub_ps(a, b);
        mul(a, b) = _mm256_mul_ps(a, b);
        fma(a, b, c) = _mm256_fmadd_ps(a, b, c);
        max(a, b) = _mm256_max_ps(a, b);
        min(a, b) = _mm256_min_ps(a, b);
    }

    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe { sum_of_eight(v) }
    }

    #[inline(always)]
    fn set(self, bits: u32) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe {
            let lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits as i32), lanes), lanes);
            _mm256_castsi256_ps(set)
        }
    }

    #[inline(always)]
    fn shift_up(self, before: __m256, v: __m256, keep: __m256) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe {
            // Each half of the result ends the half before it and begins its own.
            let ends = _mm256_castps_si256(_mm256_permute2f128_ps::<0x21>(before, v));
            let shifted = _mm256_alignr_epi8::<12>(_mm256_castps_si256(v), ends);
            _mm256_and_ps(_mm256_castsi256_ps(shifted), keep)
        }
    }

    #[inline(always)]
    fn shift_down(self, v: __m256, after: __m256, keep: __m256) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe {
            let starts = _mm256_castps_si256(_mm256_permute2f128_ps::<0x21>(v, after));
            let shifted = _mm256_alignr_epi8::<4>(starts, _mm256_castps_si256(v));
            _mm256_and_ps(_mm256_castsi256_ps(shifted), keep)
        }
    }

    #[inline(always)]
    fn deinterleave(self, a: __m256, b: __m256) -> [__m256; 2] {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe {
            // Pairs of lanes in the order of the halves: those of `a`, `b`, `a`, `b`.
            let even = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
            let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0b11_01_11_01>(a, b));
            [
                _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(even)),
                _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(odd)),
            ]
        }
    }

    #[inline(always)]
    fn transpose(self, rows: [__m256; MAX_LANES]) -> [__m256; MAX_LANES] {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe {
            // Blocks of 4×4 within the halves of four rows: `quads[4 i + j]` has column `4 q + j` in half q.
            let mut quads = rows;
            for i in [0, 4] {
                let low =
                    [_mm256_unpacklo_ps(rows[i], rows[i + 1]), _mm256_unpacklo_ps(rows[i + 2], rows[i + 3])];
                let high =
                    [_mm256_unpackhi_ps(rows[i], rows[i + 1]), _mm256_unpackhi_ps(rows[i + 2], rows[i + 3])];
                quads[i] = _mm256_shuffle_ps::<0x44>(low[0], low[1]);
                quads[i + 1] = _mm256_shuffle_ps::<0xee>(low[0], low[1]);
                quads[i + 2] = _mm256_shuffle_ps::<0x44>(high[0], high[1]);
                quads[i + 3] = _mm256_shuffle_ps::<0xee>(high[0], high[1]);
            }
            let mut columns = rows;
            for j in 0..4 {
                columns[j] = _mm256_permute2f128_ps::<0x20>(quads[j], quads[4 + j]);
                columns[4 + j] = _mm256_permute2f128_ps::<0x31>(quads[j], quads[4 + j]);
            }
            columns
        }
    }

    #[inline(always)]
    fn fma_one(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn expand(self, v: __m256, mask: u32) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX2.
        unsafe { moved(v, &EXPAND[usize::from(mask as u8)]) }
    }

    #[inline(always)]
    unsafe fn load_expanded(self, p: *const f32, mask: u32) -> __m256 {
        let lower = (mask & 0xf).count_ones() as usize;
        // SAFETY: the caller guarantees eight readable floats; the lower half takes at most the first four, so the upper
        // one ends among them. A shuffle has 32 bytes.
        unsafe {
            let halves = _mm256_loadu2_m128i(p.add(lower).cast(), p.cast());
            let from = _mm256_load_si256(EXPAND_HALVES.0[usize::from(mask as u8)].as_ptr().cast());
            _mm256_castsi256_ps(_mm256_shuffle_epi8(halves, from))
        }
    }

    #[inline(always)]
    unsafe fn load_expanded_bf16(self, p: *const bf16, mask: u32) -> __m256 {
        // SAFETY: the caller guarantees eight readable elements. A shuffle has 32 bytes.
        unsafe {
            let both = _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast()));
            let from = _mm256_load_si256(EXPAND_BF16.0[usize::from(mask as u8)].as_ptr().cast());
            _mm256_castsi256_ps(_mm256_shuffle_epi8(both, from))
        }
    }

    #[inline(always)]
    unsafe fn gather(self, p: *const f32, places: &[u16]) -> __m256 {
        let (fours, _) = places.as_chunks::<4>();
        // SAFETY: the caller guarantees that each place is readable.
        unsafe { _mm256_set_m128(gather_four(p, fours[1]), gather_four(p, fours[0])) }
    }

    #[inline(always)]
    fn compress(self, v: __m256, mask: u32) -> __m256 {
        let from = &COMPRESS[usize::from(mask as u8)];
        // SAFETY: `self` proves that the machine has AVX2; `from` has eight bytes.
        unsafe { _mm256_permutevar8x32_ps(v, _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn select(self, mask: u32, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the machine has AVX.
        unsafe { _mm256_blendv_ps(b, a, self.set(mask)) }
    }

    #[inline(always)]
    fn to_array(self, v: __m256) -> [f32; MAX_LANES] {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: `lanes` has more than eight floats.
        unsafe { self.store(lanes.as_mut_ptr(), v) };
        lanes
    }
}

/// Sums eight lanes as a balanced tree: lanes four apart, then two, then one, as [`Simd::sum`] does.
///
/// # Safety
/// The machine has AVX.
#[inline(always)]
pub(super) unsafe fn sum_of_eight(v: __m256) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

/// Reads four floats, whose places are read two at a time: a machine that reads one of each has more loads than it can
/// start in the time of its other instructions.
///
/// # Safety
/// `p` is readable at each place, and the machine has AVX.
#[inline(always)]
pub(super) unsafe fn gather_four(p: *const f32, places: [u16; 4]) -> __m128 {
    let [a, b]: [u32; 2] = bytemuck::cast(places);
    // SAFETY: guaranteed by the caller; a word of little-endian x86 holds the first place in its lower half.
    unsafe {
        let v = _mm_load_ss(p.add((a & 0xffff) as usize));
        let v = _mm_insert_ps::<0x10>(v, _mm_load_ss(p.add((a >> 16) as usize)));
        let v = _mm_insert_ps::<0x20>(v, _mm_load_ss(p.add((b & 0xffff) as usize)));
        _mm_insert_ps::<0x30>(v, _mm_load_ss(p.add((b >> 16) as usize)))
    }
}

/// The lanes of `v` that `from` names, or zero.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
unsafe fn moved(v: __m256, from: &Moves) -> __m256 {
    // SAFETY: the caller guarantees AVX2; `from` has eight bytes.
    unsafe {
        let from = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().cast()));
        let kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(ZERO.into()), from);
        _mm256_and_ps(_mm256_castsi256_ps(kept), _mm256_permutevar8x32_ps(v, from))
    }
}

/// The mask of the first `n` lanes: a window into a row of ones followed by zeros.
///
/// # Safety
/// `n ≤ 8`, and the machine has AVX.
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    const ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    debug_assert!(n <= 8);
    // SAFETY: the eight values from `8 − n` on lie inside the sixteen.
    unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS.as_ptr().add(8 - n).cast()) }
}

/// Instantiates the tile kernel with `vectors` columns of eight and a B of type `element`.
macro_rules! tile_kernel {
    ($name:ident, $element:ty, $vectors:literal) => {{
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $name(t: &Tile) {
            // SAFETY: the caller guarantees the features and a valid tile.
            unsafe { tile::<Avx2, $element, 6, $vectors>(Avx2(()), t) }
        }
        TileKernel::new::<$element>(stringify!($name), [6, 8 * $vectors], $name)
    }};
}

/// Tile kernels, grouped by types and ordered by the number of vectors in a row, starting at one.
pub(in crate::cpu) static TILES: [TileKernel; 4] = [
    tile_kernel!(gemm_6x8_avx2, f32, 1),
    tile_kernel!(gemm_6x16_avx2, f32, 2),
    tile_kernel!(gemm_6x8_avx2_bf16, bf16, 1),
    tile_kernel!(gemm_6x16_avx2_bf16, bf16, 2),
];

/// Instantiates the dot tile for `columns` columns.
macro_rules! dot_kernel {
    ($name:ident, $columns:literal) => {{
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $name(t: &Tile) {
            // SAFETY: the caller guarantees the features and a valid tile.
            unsafe { dot_tile::<Avx2, 6, $columns>(Avx2(()), t) }
        }
        TileKernel::by_columns(stringify!($name), [6, $columns], $name)
    }};
}

/// Kernels for the last columns of a product, ordered by their number of columns, starting at one.
pub(in crate::cpu) static DOTS: [TileKernel; 2] =
    [dot_kernel!(dot_6x1_avx2, 1), dot_kernel!(dot_6x2_avx2, 2)];
