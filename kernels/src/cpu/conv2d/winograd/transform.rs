//! The three transforms of Winograd's F(4×4, 3×3) with interpolation points 0, ±√½, ±√2, ∞, and the transposes of
//! two of them, which the weight gradient needs.
//!
//! A one-dimensional convolution of six inputs with three taps gives four outputs:
//! `y = Aᵀ [(G g) ⊙ (Bᵀ d)]`, six products instead of twelve (Winograd 1980; Lavin & Gray 2016). In two dimensions
//! each transform is applied to columns, then to rows: 36 products instead of 144. With `a = √½`, `b = √2`:
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
//! These points come in pairs that are reciprocal to each other, so all three matrices have entries of similar
//! size: the error is several times smaller than with the usual 0, ±1, ±2 (Barabasz et al. 2020).

// Loops and not `array::map`: a closure inside it would not be compiled for the instruction set.

use crate::cpu::simd::Simd;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// `Bᵀ d B` of a 6×6 patch.
#[inline(always)]
pub(super) fn input<S: Simd>(s: S, d: &[[S::F; 6]; 6]) -> [[S::F; 6]; 6] {
    let mut columns = [[s.zero(); 6]; 6];
    for x in 0..6 {
        let column = input_1d(s, [d[0][x], d[1][x], d[2][x], d[3][x], d[4][x], d[5][x]]);
        for y in 0..6 {
            columns[y][x] = column[y];
        }
    }
    for row in &mut columns {
        *row = input_1d(s, *row);
    }
    columns
}

/// `Bᵀ d`.
#[inline(always)]
fn input_1d<S: Simd>(s: S, d: [S::F; 6]) -> [S::F; 6] {
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

/// `G g Gᵀ` of a 3×3 filter.
#[inline(always)]
pub(super) fn filter<S: Simd>(s: S, g: &[[S::F; 3]; 3]) -> [[S::F; 6]; 6] {
    let mut columns = [[s.zero(); 3]; 6];
    for x in 0..3 {
        let column = filter_1d(s, [g[0][x], g[1][x], g[2][x]]);
        for y in 0..6 {
            columns[y][x] = column[y];
        }
    }
    let mut rows = [[s.zero(); 6]; 6];
    for y in 0..6 {
        rows[y] = filter_1d(s, columns[y]);
    }
    rows
}

/// `G g`.
#[inline(always)]
fn filter_1d<S: Simd>(s: S, g: [S::F; 3]) -> [S::F; 6] {
    let third = s.splat(1.0 / 3.0);
    let even_a = s.fma(s.splat(-2.0 / 3.0), g[0], s.mul(s.splat(-1.0 / 3.0), g[2]));
    let odd_a = s.mul(s.splat(-2.0 / 3.0 * FRAC_1_SQRT_2), g[1]);
    let even_b = s.fma(s.splat(1.0 / 6.0), g[0], s.mul(third, g[2]));
    let odd_b = s.mul(s.splat(SQRT_2 / 6.0), g[1]);
    [g[0], s.add(even_a, odd_a), s.sub(even_a, odd_a), s.add(even_b, odd_b), s.sub(even_b, odd_b), g[2]]
}

/// `Aᵀ m A` of 6×6 products.
#[inline(always)]
pub(super) fn output<S: Simd>(s: S, m: &[[S::F; 6]; 6]) -> [[S::F; 4]; 4] {
    let mut columns = [[s.zero(); 6]; 4];
    for x in 0..6 {
        let column = output_1d(s, [m[0][x], m[1][x], m[2][x], m[3][x], m[4][x], m[5][x]]);
        for y in 0..4 {
            columns[y][x] = column[y];
        }
    }
    let mut rows = [[s.zero(); 4]; 4];
    for y in 0..4 {
        rows[y] = output_1d(s, columns[y]);
    }
    rows
}

/// `Aᵀ m`.
#[inline(always)]
fn output_1d<S: Simd>(s: S, m: [S::F; 6]) -> [S::F; 4] {
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

/// `Gᵀ u G`, the transpose of [`filter`].
#[inline(always)]
pub(super) fn filter_grad<S: Simd>(s: S, u: &[[S::F; 6]; 6]) -> [[S::F; 3]; 3] {
    let mut columns = [[s.zero(); 6]; 3];
    for x in 0..6 {
        let column = filter_grad_1d(s, [u[0][x], u[1][x], u[2][x], u[3][x], u[4][x], u[5][x]]);
        for y in 0..3 {
            columns[y][x] = column[y];
        }
    }
    let mut rows = [[s.zero(); 3]; 3];
    for y in 0..3 {
        rows[y] = filter_grad_1d(s, columns[y]);
    }
    rows
}

/// `Gᵀ u`.
#[inline(always)]
fn filter_grad_1d<S: Simd>(s: S, u: [S::F; 6]) -> [S::F; 3] {
    let (sum_a, difference_a) = (s.add(u[1], u[2]), s.sub(u[1], u[2]));
    let (sum_b, difference_b) = (s.add(u[3], u[4]), s.sub(u[3], u[4]));
    [
        s.add(u[0], s.fma(s.splat(-2.0 / 3.0), sum_a, s.mul(s.splat(1.0 / 6.0), sum_b))),
        s.fma(s.splat(-2.0 / 3.0 * FRAC_1_SQRT_2), difference_a, s.mul(s.splat(SQRT_2 / 6.0), difference_b)),
        s.add(u[5], s.mul(s.splat(1.0 / 3.0), s.sub(sum_b, sum_a))),
    ]
}

/// `A e Aᵀ` of a 4×4 tile, the transpose of [`output`].
#[inline(always)]
pub(super) fn output_grad<S: Simd>(s: S, e: &[[S::F; 4]; 4]) -> [[S::F; 6]; 6] {
    let mut columns = [[s.zero(); 4]; 6];
    for x in 0..4 {
        let column = output_grad_1d(s, [e[0][x], e[1][x], e[2][x], e[3][x]]);
        for y in 0..6 {
            columns[y][x] = column[y];
        }
    }
    let mut rows = [[s.zero(); 6]; 6];
    for y in 0..6 {
        rows[y] = output_grad_1d(s, columns[y]);
    }
    rows
}

/// `A e`.
#[inline(always)]
fn output_grad_1d<S: Simd>(s: S, e: [S::F; 4]) -> [S::F; 6] {
    let (half, two) = (s.splat(0.5), s.splat(2.0));
    let (even_a, odd_a) = (s.fma(half, e[2], e[0]), s.mul(s.splat(FRAC_1_SQRT_2), s.fma(half, e[3], e[1])));
    let (even_b, odd_b) = (s.fma(two, e[2], e[0]), s.mul(s.splat(SQRT_2), s.fma(two, e[3], e[1])));
    [e[0], s.add(even_a, odd_a), s.sub(even_a, odd_a), s.add(even_b, odd_b), s.sub(even_b, odd_b), e[3]]
}

/// A transform from N×N pixels to the 36 points.
pub(super) trait Patch<const N: usize>: Copy + Sync {
    fn apply<S: Simd>(&self, s: S, pixels: &[[S::F; N]; N]) -> [[S::F; 6]; 6];
}

/// [`input`] of a 6×6 patch.
#[derive(Clone, Copy)]
pub(super) struct Input;

impl Patch<6> for Input {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, pixels: &[[S::F; 6]; 6]) -> [[S::F; 6]; 6] {
        input(s, pixels)
    }
}

/// [`output_grad`] of a 4×4 tile.
#[derive(Clone, Copy)]
pub(super) struct OutputGrad;

impl Patch<4> for OutputGrad {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, pixels: &[[S::F; 4]; 4]) -> [[S::F; 6]; 6] {
        output_grad(s, pixels)
    }
}
