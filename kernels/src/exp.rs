//! The exponential in single precision, without branches: a loop over it compiles to vector instructions, which a loop
//! over the C library's does not. It uses no fused multiply-add, so every instruction set gives the same bits.

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
    let tail = 1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0))));
    let power = 1.0 + (r + r * r * (0.5 + r * tail));
    // The low bits of `rounded` hold n. Shifted to the exponent and added to that of 1, they give 2ⁿ.
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1f32.to_bits()));
    power * scale
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
}
