//! The formulas of the activations.

use crate::float::Float;

/// The formulas of an activation, written once for every number type. Loops over them are vectorized, so they are
/// inlined and have no branches.
pub(crate) trait Function: Copy + Send + Sync {
    /// See [`Activation::apply`](crate::params::Activation::apply).
    fn apply<F: Float>(self, x: F) -> F;

    /// See [`Activation::gradient`](crate::params::Activation::gradient).
    fn gradient<F: Float>(self, saved: F, dy: F) -> F;
}

/// `x`.
#[derive(Clone, Copy)]
pub(crate) struct Identity;

impl Function for Identity {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        x
    }

    #[inline(always)]
    fn gradient<F: Float>(self, _: F, dy: F) -> F {
        dy
    }
}

/// `min(max(low, x), high)`; an infinite bound is none.
#[derive(Clone, Copy)]
pub(crate) struct Clamp {
    pub low: f32,
    pub high: f32,
}

impl Function for Clamp {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        let (low, high) = (F::of(self.low.into()), F::of(self.high.into()));
        // A NaN fails both comparisons.
        let above = if x < low { low } else { x };
        if above > high { high } else { above }
    }

    /// Passes the gradient where the output lies strictly between the bounds.
    #[inline(always)]
    fn gradient<F: Float>(self, y: F, dy: F) -> F {
        // An infinite output reaches no bound if there is none, and nothing compares with a NaN.
        let high = if self.high == f32::INFINITY { f32::NAN } else { self.high };
        let (low, high) = (F::of(self.low.into()), F::of(high.into()));
        let reached = y >= high;
        if y > low && !reached { dy } else { F::ZERO }
    }
}

/// Rumelhart, Hinton & Williams 1986.
#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        F::ONE / (F::ONE + (-x).exp())
    }

    #[inline(always)]
    fn gradient<F: Float>(self, y: F, dy: F) -> F {
        dy * (y * (F::ONE - y))
    }
}

/// The sigmoid-weighted linear unit (Elfwing, Uchibe & Doya 2017).
#[derive(Clone, Copy)]
pub(crate) struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        x * Sigmoid.apply(x)
    }

    #[inline(always)]
    fn gradient<F: Float>(self, x: F, dy: F) -> F {
        let s = Sigmoid.apply(x);
        dy * (s * (F::ONE + x * (F::ONE - s)))
    }
}

/// The piecewise linear sigmoid of MobileNetV3 (Howard et al. 2019).
#[derive(Clone, Copy)]
pub(crate) struct HardSigmoid;

impl Function for HardSigmoid {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        Clamp { low: 0.0, high: 6.0 }.apply(x + F::of(3.0)) * F::of(1.0 / 6.0)
    }

    #[inline(always)]
    fn gradient<F: Float>(self, y: F, dy: F) -> F {
        if y > F::ZERO && y < F::ONE { dy * F::of(1.0 / 6.0) } else { F::ZERO }
    }
}

/// Swish with the piecewise linear sigmoid (Howard et al. 2019).
#[derive(Clone, Copy)]
pub(crate) struct HardSwish;

impl Function for HardSwish {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        x * HardSigmoid.apply(x)
    }

    #[inline(always)]
    fn gradient<F: Float>(self, x: F, dy: F) -> F {
        let between = (x + x + F::of(3.0)) * F::of(1.0 / 6.0);
        let slope = if x <= F::of(-3.0) { F::ZERO } else { between };
        let slope = if x >= F::of(3.0) { F::ONE } else { slope };
        dy * slope
    }
}

/// The hyperbolic tangent.
#[derive(Clone, Copy)]
pub(crate) struct Tanh;

impl Function for Tanh {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        x.tanh()
    }

    #[inline(always)]
    fn gradient<F: Float>(self, y: F, dy: F) -> F {
        dy * (F::ONE - y * y)
    }
}

/// The exponential linear unit (Clevert, Unterthiner & Hochreiter 2016).
#[derive(Clone, Copy)]
pub(crate) struct Elu {
    pub alpha: f32,
}

impl Function for Elu {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        let below = F::of(self.alpha.into()) * x.exp_m1();
        if x > F::ZERO { x } else { below }
    }

    #[inline(always)]
    fn gradient<F: Float>(self, x: F, dy: F) -> F {
        let slope = F::of(self.alpha.into()) * x.exp();
        if x > F::ZERO { dy } else { dy * slope }
    }
}

/// The rectifier with a slope for negative inputs (Maas, Hannun & Ng 2013).
#[derive(Clone, Copy)]
pub(crate) struct LeakyRelu {
    pub slope: f32,
}

impl Function for LeakyRelu {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        if x > F::ZERO { x } else { F::of(self.slope.into()) * x }
    }

    #[inline(always)]
    fn gradient<F: Float>(self, x: F, dy: F) -> F {
        if x > F::ZERO { dy } else { dy * F::of(self.slope.into()) }
    }
}

/// The Gaussian error linear unit (Hendrycks & Gimpel 2016).
#[derive(Clone, Copy)]
pub(crate) struct Gelu;

impl Function for Gelu {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        x * x.normal_cdf()
    }

    /// `Φ(x) + x·φ(x)`.
    #[inline(always)]
    fn gradient<F: Float>(self, x: F, dy: F) -> F {
        let density = (F::of(-0.5) * x * x).exp() * F::of(FRAC_1_SQRT_2PI);
        dy * (x.normal_cdf() + x * density)
    }
}

/// `1/√(2π)`.
const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

/// The approximation of [`Gelu`] by a hyperbolic tangent (Hendrycks & Gimpel 2016): `½ (1 + tanh u)` is the sigmoid of 2u.
#[derive(Clone, Copy)]
pub(crate) struct GeluTanh;

impl GeluTanh {
    /// The coefficients of `2u = 2 √(2/π) (x + 0.044715 x³)`.
    const LINEAR: f64 = 1.595_769_121_605_730_7;
    const CUBIC: f64 = 0.044_715 * Self::LINEAR;
}

impl Function for GeluTanh {
    #[inline(always)]
    fn apply<F: Float>(self, x: F) -> F {
        let argument = x * (F::of(Self::LINEAR) + F::of(Self::CUBIC) * (x * x));
        x * Sigmoid.apply(argument)
    }

    #[inline(always)]
    fn gradient<F: Float>(self, x: F, dy: F) -> F {
        let square = x * x;
        let s = Sigmoid.apply(x * (F::of(Self::LINEAR) + F::of(Self::CUBIC) * square));
        let slope = F::of(Self::LINEAR) + F::of(3.0 * Self::CUBIC) * square;
        dy * (s + x * (s * (F::ONE - s)) * slope)
    }
}
