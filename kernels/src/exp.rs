//! The exponential in single precision and its relatives, without branches: a loop over them compiles to vector
//! instructions, which a loop over the C library's does not. They use no fused multiply-add, so every instruction set gives
//! the same bits.

use std::f32::consts::LOG2_E;

/// `1.5 · 2²³`: in a sum with it, the lowest bit of the significand is worth 1, so the sum is rounded to an integer.
const ROUND: f32 = 12_582_912.0;

/// `ln 2` in two parts. The first has sixteen significant bits, so its products with integers below 2⁸ are exact.
const LN_2_HIGH: f32 = 0.693_145_75;
const LN_2_LOW: f32 = 1.428_606_8e-6;

/// Computes `eˣ` within 2 units in the last place. Results below 2⁻¹²⁶ are 0, results above 2¹²⁷·⁵ are infinite, and a
/// NaN stays a NaN.
///
/// `eˣ = 2ⁿ · eʳ`, where `n` is the integer next to `x / ln 2` and `|r| ≤ ½ ln 2`. The polynomial is the Taylor series
/// of degree 7, whose remainder is below 1e-8.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // The bounds keep n in −127..=128, whose powers of two are stored as 0 and as infinity. A NaN passes through.
    let x = if x < -88.0 { -88.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let power = 1.0 + minus_one(r);
    // The low bits of `rounded` hold n. Shifted to the exponent and added to that of 1, they give 2ⁿ.
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1f32.to_bits()));
    power * scale
}

/// `eʳ − 1` for `|r| ≤ ½ ln 2`.
#[inline(always)]
fn minus_one(r: f32) -> f32 {
    let tail = 1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0))));
    r + r * r * (0.5 + r * tail)
}

/// Computes `eˣ − 1` within 8 units in the last place, also next to zero, where the 1 would swallow the digits of `eˣ`.
/// A NaN stays a NaN.
#[inline(always)]
pub(crate) fn exp_m1(x: f32) -> f32 {
    const NEAR: f32 = 0.34;
    // Both are computed, because a loop with a branch is not vectorized.
    let (near, far) = (minus_one(x), exp(x) - 1.0);
    if x > -NEAR && x < NEAR { near } else { far }
}

/// Computes the hyperbolic tangent within 8 units in the last place. A NaN stays a NaN.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // tanh a = (1 − e⁻²ᵃ)/(1 + e⁻²ᵃ), which overflows nowhere for a ≥ 0.
    let t = exp_m1(-2.0 * x.abs());
    (-t / (t + 2.0)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        // Every 97th float up to 88 in magnitude.
        for bits in (0..88f32.to_bits()).step_by(97) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let want = f64::from(x).exp();
                if want >= f64::from(f32::MIN_POSITIVE) {
                    let error = (f64::from(exp(x)) - want).abs() / (want * f64::from(f32::EPSILON));
                    assert!(error <= 2.0, "exp({x:e}) = {:e}, expected {want:e}", exp(x));
                }
            }
        }
    }

    #[test]
    fn extreme_arguments_give_zero_infinity_and_nan() {
        assert_eq!((exp(f32::NEG_INFINITY), exp(-1e30), exp(-88.0)), (0.0, 0.0, 0.0));
        assert_eq!((exp(f32::INFINITY), exp(1e30), exp(89.0)), (f32::INFINITY, f32::INFINITY, f32::INFINITY));
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert!(exp(f32::NAN).is_nan());
    }

    /// The error of `value` in units of the last place of `want`.
    fn units(value: f32, want: f64) -> f64 {
        (f64::from(value) - want).abs() / (want.abs() * f64::from(f32::EPSILON))
    }

    #[test]
    fn relatives_keep_their_digits_next_to_zero() {
        for bits in (1e-30f32.to_bits()..20f32.to_bits()).step_by(97) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let error = units(exp_m1(x), f64::from(x).exp_m1());
                assert!(error <= 8.0, "exp_m1({x:e}) = {:e} is off by {error} units", exp_m1(x));
                let error = units(tanh(x), f64::from(x).tanh());
                assert!(error <= 8.0, "tanh({x:e}) = {:e} is off by {error} units", tanh(x));
            }
        }
        assert_eq!(
            (exp_m1(0.0), exp_m1(f32::NEG_INFINITY), exp_m1(f32::INFINITY)),
            (0.0, -1.0, f32::INFINITY)
        );
        assert_eq!((tanh(0.0), tanh(f32::NEG_INFINITY), tanh(f32::INFINITY)), (0.0, -1.0, 1.0));
        assert!(exp_m1(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    }
}
