//! The three maps of Winograd's F(2×2, 3×3) with interpolation points 0, ±1, ∞.
//!
//! A one-dimensional convolution of four inputs with three taps gives two outputs. It takes four products instead of
//! six, and 16 instead of 36 in two dimensions. All matrix entries are small and exact, so the error is hardly larger
//! than that of the direct algorithm.
//!
//! ```text
//!      ⎡1  0 −1  0⎤        ⎡1   0  0⎤
//! Bᵀ = ⎢0  1  1  0⎥    G = ⎢½   ½  ½⎥   Aᵀ = ⎡1  1  1  0⎤
//!      ⎢0 −1  1  0⎥        ⎢½  −½  ½⎥        ⎣0  1 −1  1⎦
//!      ⎣0 −1  0  1⎦        ⎣0   0  1⎦
//! ```

use super::transform::Map;
use crate::cpu::simd::Simd;

/// `Bᵀ d`.
#[derive(Clone, Copy)]
pub(super) struct Input;

impl Map<4, 4> for Input {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, d: [S::F; 4]) -> [S::F; 4] {
        [s.sub(d[0], d[2]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[3], d[1])]
    }
}

/// `G g`.
#[derive(Clone, Copy)]
pub(super) struct Filter;

impl Map<3, 4> for Filter {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, g: [S::F; 3]) -> [S::F; 4] {
        let half = s.splat(0.5);
        let (even, odd) = (s.mul(half, s.add(g[0], g[2])), s.mul(half, g[1]));
        [g[0], s.add(even, odd), s.sub(even, odd), g[2]]
    }
}

/// `Aᵀ m`.
#[derive(Clone, Copy)]
pub(super) struct Output;

impl Map<4, 2> for Output {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, m: [S::F; 4]) -> [S::F; 2] {
        [s.add(m[0], s.add(m[1], m[2])), s.add(m[3], s.sub(m[1], m[2]))]
    }
}
