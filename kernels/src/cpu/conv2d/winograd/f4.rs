//! The three maps of Winograd's F(4×4, 3×3) with interpolation points 0, ±√½, ±√2, ∞, and the transposes of
//! two of them, which the weight gradient needs.
//!
//! A one-dimensional convolution of six inputs with three taps gives four outputs: `y = Aᵀ [(G g) ⊙ (Bᵀ d)]`. It takes
//! six products instead of twelve, and 36 instead of 144 in two dimensions. With `a = √½`, `b = √2`:
//!
//! ```text
//!      ⎡1   0  −5/2   0   1  0⎤        ⎡  1     0     0 ⎤
//!      ⎢0 −2a   −2    a   1  0⎥        ⎢−2/3 −2a/3  −1/3⎥        ⎡1  1   1  1   1  0⎤
//! Bᵀ = ⎢0  2a   −2   −a   1  0⎥    G = ⎢−2/3  2a/3  −1/3⎥   Aᵀ = ⎢0  a  −a  b  −b  0⎥
//!      ⎢0 −b/2 −1/2   b   1  0⎥        ⎢ 1/6   b/6   1/3⎥        ⎢0  ½   ½  2   2  0⎥
//!      ⎢0  b/2 −1/2  −b   1  0⎥        ⎢ 1/6  −b/6   1/3⎥        ⎣0  a³ −a³ b³ −b³ 1⎦
//!      ⎣0   1    0  −5/2  0  1⎦        ⎣  0     0     1 ⎦
//! ```
//!
//! These points come in pairs of reciprocals, so the entries of all three matrices have similar sizes. The error is
//! several times smaller than with the usual points 0, ±1, ±2 (Barabasz et al. 2020).

use super::transform::Map;
use crate::cpu::simd::Simd;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// `Bᵀ d`.
#[derive(Clone, Copy)]
pub(super) struct Input;

impl Map<6, 6> for Input {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, d: [S::F; 6]) -> [S::F; 6] {
        let (minus_5_2, minus_2, minus_half) = (s.splat(-2.5), s.splat(-2.0), s.splat(-0.5));
        let (even_a, odd_a) =
            (s.fma(minus_2, d[2], d[4]), s.mul(s.splat(FRAC_1_SQRT_2), s.fma(minus_2, d[1], d[3])));
        let (even_b, odd_b) =
            (s.fma(minus_half, d[2], d[4]), s.mul(s.splat(SQRT_2), s.fma(minus_half, d[1], d[3])));
        [
            s.add(s.fma(minus_5_2, d[2], d[4]), d[0]),
            s.add(even_a, odd_a),
            s.sub(even_a, odd_a),
            s.add(even_b, odd_b),
            s.sub(even_b, odd_b),
            s.add(s.fma(minus_5_2, d[3], d[5]), d[1]),
        ]
    }
}

/// `G g`.
#[derive(Clone, Copy)]
pub(super) struct Filter;

impl Map<3, 6> for Filter {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, g: [S::F; 3]) -> [S::F; 6] {
        let third = s.splat(1.0 / 3.0);
        let even_a = s.fma(s.splat(-2.0 / 3.0), g[0], s.mul(s.splat(-1.0 / 3.0), g[2]));
        let odd_a = s.mul(s.splat(-2.0 / 3.0 * FRAC_1_SQRT_2), g[1]);
        let even_b = s.fma(s.splat(1.0 / 6.0), g[0], s.mul(third, g[2]));
        let odd_b = s.mul(s.splat(SQRT_2 / 6.0), g[1]);
        [g[0], s.add(even_a, odd_a), s.sub(even_a, odd_a), s.add(even_b, odd_b), s.sub(even_b, odd_b), g[2]]
    }
}

/// `Aᵀ m`.
#[derive(Clone, Copy)]
pub(super) struct Output;

impl Map<6, 4> for Output {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, m: [S::F; 6]) -> [S::F; 4] {
        const A3: f32 = FRAC_1_SQRT_2 / 2.0;
        const B3: f32 = SQRT_2 * 2.0;
        let (sum_a, difference_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (sum_b, difference_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [
            s.add(m[0], s.add(sum_a, sum_b)),
            s.fma(s.splat(FRAC_1_SQRT_2), difference_a, s.mul(s.splat(SQRT_2), difference_b)),
            s.fma(s.splat(0.5), sum_a, s.mul(s.splat(2.0), sum_b)),
            s.add(m[5], s.fma(s.splat(A3), difference_a, s.mul(s.splat(B3), difference_b))),
        ]
    }
}

/// `Gᵀ u`, the transpose of [`Filter`].
#[derive(Clone, Copy)]
pub(super) struct FilterGrad;

impl Map<6, 3> for FilterGrad {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, u: [S::F; 6]) -> [S::F; 3] {
        let (sum_a, difference_a) = (s.add(u[1], u[2]), s.sub(u[1], u[2]));
        let (sum_b, difference_b) = (s.add(u[3], u[4]), s.sub(u[3], u[4]));
        [
            s.add(u[0], s.fma(s.splat(-2.0 / 3.0), sum_a, s.mul(s.splat(1.0 / 6.0), sum_b))),
            s.fma(
                s.splat(-2.0 / 3.0 * FRAC_1_SQRT_2),
                difference_a,
                s.mul(s.splat(SQRT_2 / 6.0), difference_b),
            ),
            s.add(u[5], s.mul(s.splat(1.0 / 3.0), s.sub(sum_b, sum_a))),
        ]
    }
}

/// `A e`, the transpose of [`Output`].
#[derive(Clone, Copy)]
pub(super) struct OutputGrad;

impl Map<4, 6> for OutputGrad {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, e: [S::F; 4]) -> [S::F; 6] {
        let (half, two) = (s.splat(0.5), s.splat(2.0));
        let (even_a, odd_a) =
            (s.fma(half, e[2], e[0]), s.mul(s.splat(FRAC_1_SQRT_2), s.fma(half, e[3], e[1])));
        let (even_b, odd_b) = (s.fma(two, e[2], e[0]), s.mul(s.splat(SQRT_2), s.fma(two, e[3], e[1])));
        [e[0], s.add(even_a, odd_a), s.sub(even_a, odd_a), s.add(even_b, odd_b), s.sub(even_b, odd_b), e[3]]
    }
}
