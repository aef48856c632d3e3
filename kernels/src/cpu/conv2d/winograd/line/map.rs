//! The maps of F(4, 4) with interpolation points ±⅜, ±⅞, ±1¾, ∞, and the points of F(4, 3), whose maps are those of
//! F(4×4, 3×3).
//!
//! Seven products give four outputs of a kernel of four taps. With q_a = (x² − b²)(x² − c²) and likewise q_b and q_c:
//!
//! ```text
//!   rows ±a of Bᵀ   coefficients of (x ± a) · q_a(x)                      the odd part, plus or minus a times the even part
//!   row ∞           coefficients of (x² − a²)(x² − b²)(x² − c²)
//!   rows ±a of G    1, ±a, a², ±a³, divided by ±2a · q_a(a)               row ∞: 0, 0, 0, 1
//!   Aᵀ              1; ±a; a²; ±a³ for each point, and 1 for ∞ in the last row
//! ```
//!
//! All entries of Bᵀ and Aᵀ are exact. The points were searched for the smallest error of random convolutions: it is that
//! of F(4, 3) with its points 0, ±√½, ±√2, ∞.

use super::super::transform::Map;
use crate::cpu::simd::Simd;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// The positive points.
const A: f32 = 0.375;
const B: f32 = 0.875;
const C: f32 = 1.75;
const POINTS: [f32; 3] = [A, B, C];

/// The finite interpolation points of F(4, `taps`).
pub(super) fn points(taps: usize) -> &'static [f64] {
    const THREE: [f64; 5] = [0.0, FRAC_1_SQRT_2, -FRAC_1_SQRT_2, SQRT_2, -SQRT_2];
    const FOUR: [f64; 6] = [A as f64, -A as f64, B as f64, -B as f64, C as f64, -C as f64];
    if taps == 3 { &THREE } else { &FOUR }
}

/// `G g` for a kernel of `taps` taps: one value for each point, the infinite one last.
pub(super) fn filter(taps: usize, g: &[f64]) -> impl Iterator<Item = f64> {
    let points = points(taps);
    let finite = points.iter().map(move |&p| {
        let others = points.iter().filter(|&&other| other != p);
        // Horner's rule.
        let value = g.iter().rev().fold(0.0, |sum, tap| sum * p + tap);
        value / others.map(|other| p - other).product::<f64>()
    });
    finite.chain(g.last().copied())
}

/// The coefficients of `(x² − u²)(x² − v²)`: those of 1 and x²; that of x⁴ is 1.
const fn quartic(u: f32, v: f32) -> [f32; 2] {
    [u * u * v * v, -(u * u + v * v)]
}

/// q_a, q_b and q_c.
const QUARTICS: [[f32; 2]; 3] = [quartic(B, C), quartic(A, C), quartic(A, B)];

/// `Bᵀ d`.
#[derive(Clone, Copy)]
pub(super) struct Input;

impl Map<7, 7> for Input {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, d: [S::F; 7]) -> [S::F; 7] {
        let mut values = [s.zero(); 7];
        for i in 0..3 {
            let (constant, square) = (s.splat(QUARTICS[i][0]), s.splat(QUARTICS[i][1]));
            let even = s.fma(constant, d[0], s.fma(square, d[2], d[4]));
            let odd = s.fma(constant, d[1], s.fma(square, d[3], d[5]));
            values[2 * i] = s.fma(s.splat(POINTS[i]), even, odd);
            values[2 * i + 1] = s.fma(s.splat(-POINTS[i]), even, odd);
        }
        // (x² − c²) · q_c
        let [constant, square] = QUARTICS[2];
        let last = s.fma(s.splat(square - C * C), d[4], d[6]);
        let last = s.fma(s.splat(constant - C * C * square), d[2], last);
        values[6] = s.fma(s.splat(-C * C * constant), d[0], last);
        values
    }
}

/// `Aᵀ m`.
#[derive(Clone, Copy)]
pub(super) struct Output;

impl Map<7, 4> for Output {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, m: [S::F; 7]) -> [S::F; 4] {
        let mut y = [s.zero(), s.zero(), s.zero(), m[6]];
        for i in 0..3 {
            let (p, sum, difference) =
                (POINTS[i], s.add(m[2 * i], m[2 * i + 1]), s.sub(m[2 * i], m[2 * i + 1]));
            y[0] = s.add(y[0], sum);
            y[1] = s.fma(s.splat(p), difference, y[1]);
            y[2] = s.fma(s.splat(p * p), sum, y[2]);
            y[3] = s.fma(s.splat(p * p * p), difference, y[3]);
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::f4;
    use super::*;
    use crate::cpu::Cpu;
    use crate::cpu::simd::Kernel;

    /// `Aᵀ (u ⊙ Bᵀ d)` in the first lane.
    struct Line<'a, const N: usize, I, O> {
        input: I,
        output: O,
        u: &'a [f32],
        d: &'a [f32],
    }

    impl<const N: usize, I: Map<N, N>, O: Map<N, 4>> Kernel for Line<'_, N, I, O> {
        type Output = [f32; 4];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [f32; 4] {
            let mut m = [s.zero(); N];
            for i in 0..N {
                m[i] = s.splat(self.d[i]);
            }
            m = self.input.apply(s, m);
            for i in 0..N {
                m[i] = s.mul(s.splat(self.u[i]), m[i]);
            }
            self.output.apply(s, m).map(|y| s.to_array(y)[0])
        }
    }

    /// Each tap of each input alone, in which every entry of the three matrices takes part.
    #[test]
    fn tiles_are_convolutions() {
        let cpu = Cpu::detect();
        for (taps, n) in [(3, 6), (4, 7)] {
            for tap in 0..taps {
                let g: Vec<f64> = (0..taps).map(|i| f64::from(u8::from(i == tap))).collect();
                let u: Vec<f32> = filter(taps, &g).map(|u| u as f32).collect();
                assert_eq!(u.len(), n);
                for at in 0..n {
                    let d: Vec<f32> = (0..n).map(|i| f32::from(u8::from(i == at))).collect();
                    let (u, d) = (&u[..], &d[..]);
                    let y = match taps {
                        3 => cpu.dispatch(Line::<6, _, _> { input: f4::Input, output: f4::Output, u, d }),
                        _ => cpu.dispatch(Line::<7, _, _> { input: Input, output: Output, u, d }),
                    };
                    for (i, y) in y.into_iter().enumerate() {
                        let want = f32::from(u8::from(i + tap == at));
                        assert!(
                            (y - want).abs() < 1e-5,
                            "{taps} taps: tap {tap} of input {at} gives {y} at {i}"
                        );
                    }
                }
            }
        }
    }
}
