//! The distribution function of the standard normal distribution, `Φ(x) = ½ erfc(−x/√2)`, which GELU multiplies by.
//!
//! The tail is written as `Φ(−a) = e^(−a²/2) · R(a)` for `a ≥ 0`. R, a scaled Mills ratio, is smooth and falls like `1/a`,
//! so that a polynomial in `t = 1/(1 + 0.35 a)` approximates it over the whole axis (as in Abramowitz & Stegun 1964,
//! 26.2.17, with more terms). Small results keep their digits, which `½ (1 + erf)` would lose to cancellation.

use crate::exp::exp;
use std::f32::consts::FRAC_1_SQRT_2;
use std::f64::consts::PI;

/// The slope of the variable t.
const SLOPE: f32 = 0.35;

/// The coefficients of R(a)/t, by ascending powers of t: a minimax fit, within 4e-8 of R.
const RATIO: [f32; 9] = [
    0.139_621_3,
    0.139_863_54,
    0.119_821_18,
    0.105_552_93,
    -0.023_213_392,
    0.159_321_25,
    -0.255_840_4,
    0.144_031_61,
    -0.029_158_03,
];

/// Computes `Φ(x)` without branches, within 4 units in the last place and, for negative `x`, the rounding error of the
/// exponent `x²/2`. A NaN stays a NaN.
#[inline(always)]
pub(crate) fn cdf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + SLOPE * a);
    let [c0, c1, c2, c3, c4, c5, c6, c7, c8] = RATIO;
    let ratio = c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * (c5 + t * (c6 + t * (c7 + t * c8)))))));
    // x²/2, rounded once.
    let half = (FRAC_1_SQRT_2 * a) * (FRAC_1_SQRT_2 * a);
    let tail = exp(-half) * (t * ratio);
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// `Φ(x)` in double precision: the oracle. Near zero it is a series of positive terms, elsewhere Laplace's continued
/// fraction of the tail.
pub fn cdf_double(x: f64) -> f64 {
    /// Where the fraction takes over.
    const FAR: f64 = 2.5;
    /// Terms of the fraction, enough at [`FAR`] and beyond.
    const TERMS: u32 = 200;
    let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
    if x.abs() < FAR {
        // Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …).
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term.abs() > 1e-18 * sum.abs() {
            odd += 2.0;
            term *= x * x / odd;
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let a = x.abs();
    let fraction = (1..=TERMS).rev().fold(a, |below, k| a + f64::from(k) / below);
    let tail = density / fraction;
    if x > 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_has_the_tabulated_values() {
        // Φ to sixteen digits, from mpmath.
        for (x, want) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.0, 0.158_655_253_931_457_05),
            (2.0, 0.977_249_868_051_820_8),
            (-2.4, 0.008_197_535_924_596_13),
            (-3.0, 0.001_349_898_031_630_094_6),
            (-6.0, 9.865_876_450_376_98e-10),
            (-10.0, 7.619_853_024_160_526e-24),
        ] {
            let error = (cdf_double(x) / want - 1.0).abs();
            assert!(error < 1e-13, "Φ({x}) = {}, expected {want}", cdf_double(x));
        }
        assert_eq!((cdf_double(f64::INFINITY), cdf_double(f64::NEG_INFINITY)), (1.0, 0.0));
        assert!(cdf_double(f64::NAN).is_nan());
    }

    #[test]
    fn single_precision_keeps_the_digits_of_both_tails() {
        for i in -12_000..=12_000 {
            let x = i as f32 / 1000.0;
            let want = cdf_double(x.into());
            let error = (f64::from(cdf(x)) / want - 1.0).abs();
            let limit = f64::from(f32::EPSILON) * (4.0 + f64::from(x * x));
            assert!(error <= limit, "Φ({x}) = {}, expected {want}: {error:e} above {limit:e}", cdf(x));
        }
        assert_eq!((cdf(f32::INFINITY), cdf(f32::NEG_INFINITY), cdf(1e30)), (1.0, 0.0, 1.0));
        assert!(cdf(f32::NAN).is_nan());
    }
}
