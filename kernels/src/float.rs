//! A minimal trait of numbers, which lets the reference and the activations be written once for `f32` and `f64`.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// `f32` or `f64`.
pub trait Float:
    Copy
    + Debug
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + AddAssign
    + Div<Output = Self>
    + Mul<Output = Self>
    + Neg<Output = Self>
    + Sub<Output = Self>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// −∞, the identity of the maximum.
    const NEG_INFINITY: Self;
    /// The nearest value of this type.
    fn of(x: f64) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The exponential.
    fn exp(self) -> Self;
    /// The exponential minus 1.
    fn exp_m1(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The distribution function of the standard normal distribution.
    fn normal_cdf(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// Whether this is NaN.
    fn is_nan(self) -> bool;
}

macro_rules! float {
    ($type:ty, $exp:path, $exp_m1:path, $tanh:path, $normal_cdf:path) => {
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = <$type>::NEG_INFINITY;
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $type
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn exp_m1(self) -> Self {
                $exp_m1(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }
            #[inline(always)]
            fn normal_cdf(self) -> Self {
                $normal_cdf(self)
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn is_nan(self) -> bool {
                self.is_nan()
            }
        }
    };
}

float!(f32, crate::exp::exp, crate::exp::exp_m1, crate::exp::tanh, crate::normal::cdf);
float!(f64, f64::exp, f64::exp_m1, f64::tanh, crate::normal::cdf_double);
