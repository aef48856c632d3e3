//! The backend for any machine, based on the `wide` crate: eight lanes in the vectors that the target has by default
//! (two SSE registers on x86-64, without FMA).

use crate::cpu::gemm::dot_tile::dot_tile;
use crate::cpu::gemm::tile::{Tile, tile};
use crate::cpu::gemm::tile_kernel::TileKernel;
use crate::cpu::simd::moves::{COMPRESS, EXPAND, Moves};
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use half::bf16;
use wide::f32x8;

/// The portable backend, which needs no proof.
#[derive(Debug, Clone, Copy)]
pub struct Portable;

impl Simd for Portable {
    type F = f32x8;
    type Set = u32;
    const LANES: usize = 8;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> f32x8 {
        // SAFETY: the caller guarantees eight readable floats.
        f32x8::new(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> f32x8 {
        let mut lanes = [0.0; 8];
        for (i, lane) in lanes.iter_mut().enumerate() {
            // SAFETY: the caller guarantees eight readable numbers.
            *lane = unsafe { *p.add(i) }.to_f32();
        }
        f32x8::new(lanes)
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: f32x8) {
        // SAFETY: the caller guarantees eight writable floats.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v.to_array()) }
    }

    #[inline(always)]
    unsafe fn load_partial(self, p: *const f32, n: usize) -> f32x8 {
        let mut lanes = [0.0; 8];
        // SAFETY: the caller guarantees `n ≤ 8` readable floats.
        unsafe { std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n) };
        f32x8::new(lanes)
    }

    #[inline(always)]
    unsafe fn store_partial(self, p: *mut f32, v: f32x8, n: usize) {
        // SAFETY: the caller guarantees `n ≤ 8` writable floats.
        unsafe { std::ptr::copy_nonoverlapping(v.to_array().as_ptr(), p, n) }
    }

    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }

    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }

    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }

    #[inline(always)]
    fn fma(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }

    // `max` and `min` of `wide` treat NaN differently from the machine instructions.
    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_gt(b).bitselect(a, b)
    }

    #[inline(always)]
    fn min(self, a: f32x8, b: f32x8) -> f32x8 {
        b.simd_gt(a).bitselect(a, b)
    }

    #[inline(always)]
    fn set(self, bits: u32) -> u32 {
        bits
    }

    #[inline(always)]
    fn shift_up(self, before: f32x8, v: f32x8, keep: u32) -> f32x8 {
        let (before, v) = (before.to_array(), v.to_array());
        f32x8::new(std::array::from_fn(|i| match i {
            _ if keep >> i & 1 == 0 => 0.0,
            0 => before[7],
            _ => v[i - 1],
        }))
    }

    #[inline(always)]
    fn shift_down(self, v: f32x8, after: f32x8, keep: u32) -> f32x8 {
        let (v, after) = (v.to_array(), after.to_array());
        f32x8::new(std::array::from_fn(|i| match i {
            _ if keep >> i & 1 == 0 => 0.0,
            7 => after[0],
            _ => v[i + 1],
        }))
    }

    #[inline(always)]
    fn deinterleave(self, a: f32x8, b: f32x8) -> [f32x8; 2] {
        let (a, b) = (a.to_array(), b.to_array());
        let lane = |i: usize| if i < 8 { a[i] } else { b[i - 8] };
        [0, 1].map(|odd| f32x8::new(std::array::from_fn(|i| lane(2 * i + odd))))
    }

    #[inline(always)]
    fn transpose(self, rows: [f32x8; MAX_LANES]) -> [f32x8; MAX_LANES] {
        let rows = rows.map(|row| row.to_array());
        std::array::from_fn(|j| f32x8::new(std::array::from_fn(|i| rows[i][j % 8])))
    }

    #[inline(always)]
    fn fma_one(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    fn expand(self, v: f32x8, mask: u32) -> f32x8 {
        moved(v, &EXPAND[usize::from(mask as u8)])
    }

    #[inline(always)]
    unsafe fn gather(self, p: *const f32, places: &[u16]) -> f32x8 {
        let mut lanes = [0.0; 8];
        for (lane, &place) in lanes.iter_mut().zip(&places[..8]) {
            // SAFETY: the caller guarantees that each place is readable.
            *lane = unsafe { *p.add(usize::from(place)) };
        }
        f32x8::new(lanes)
    }

    #[inline(always)]
    fn compress(self, v: f32x8, mask: u32) -> f32x8 {
        moved(v, &COMPRESS[usize::from(mask as u8)])
    }

    #[inline(always)]
    fn select(self, mask: u32, a: f32x8, b: f32x8) -> f32x8 {
        let (mut lanes, a) = (b.to_array(), a.to_array());
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = if mask >> i & 1 == 1 { a[i] } else { *lane };
        }
        f32x8::new(lanes)
    }

    #[inline(always)]
    fn to_array(self, v: f32x8) -> [f32; MAX_LANES] {
        let mut lanes = [0.0; MAX_LANES];
        lanes[..8].copy_from_slice(&v.to_array());
        lanes
    }
}

/// The lanes of `v` that `from` names, or zero.
#[inline(always)]
fn moved(v: f32x8, from: &Moves) -> f32x8 {
    // Entry `ZERO` and the ones behind it are zero.
    let mut lanes = [0.0; 16];
    lanes[..8].copy_from_slice(&v.to_array());
    let mut result = [0.0; 8];
    for (lane, &from) in result.iter_mut().zip(from) {
        *lane = lanes[usize::from(from) % 16];
    }
    f32x8::new(result)
}

unsafe fn gemm_4x8_portable(t: &Tile) {
    // SAFETY: the caller guarantees that the tile is valid.
    unsafe { tile::<Portable, f32, 4, 1>(Portable, t) }
}

unsafe fn gemm_4x8_portable_bf16(t: &Tile) {
    // SAFETY: the caller guarantees that the tile is valid.
    unsafe { tile::<Portable, bf16, 4, 1>(Portable, t) }
}

/// Tile kernels, grouped by types and ordered by the number of vectors in a row, starting at one.
pub(in crate::cpu) static TILES: [TileKernel; 2] = [
    TileKernel::new::<f32>("gemm_4x8_portable", [4, 8], gemm_4x8_portable),
    TileKernel::new::<bf16>("gemm_4x8_portable_bf16", [4, 8], gemm_4x8_portable_bf16),
];

unsafe fn dot_4x1_portable(t: &Tile) {
    // SAFETY: the caller guarantees that the tile is valid.
    unsafe { dot_tile::<Portable, 4, 1>(Portable, t) }
}

/// Kernels for the last columns of a product, ordered by their number of columns, starting at one.
pub(in crate::cpu) static DOTS: [TileKernel; 1] =
    [TileKernel::by_columns("dot_4x1_portable", [4, 1], dot_4x1_portable)];
