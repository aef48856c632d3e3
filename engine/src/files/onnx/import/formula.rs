//! Functions of a value that are not a layer yet.
//!
//! Programs write some layers as several operators: GELU before ONNX 20, layer norm before ONNX 17. Each operator makes a
//! formula of the value that the first one read, until the formula is that of a layer:
//!
//! ```text
//!   GELU         x ─ Div √2 ─ Erf ─ Add 1 ─ Mul x ─ Mul ½            x·½·(1 + erf(x/√2))
//!   layer norm   x ─ ReduceMean ─ Sub ─ Pow 2 ─ ReduceMean ─ Add ε ─ Sqrt ─ Div
//!                └───────────────┘ └────────────────────────────────────┘
//! ```
//!
//! Where channels were removed from a layer norm, polynomials of the mean stand between (`spread`). A formula that any other
//! operator reads becomes layers if it can, `a + b·x` for instance, and is refused otherwise.

use super::spread::Spread;

/// A function of the value x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Formula {
    /// `c₀ + c₁x + c₂x² + c₃x³`.
    Cubic([f64; 4]),
    /// `scale·bell(x) + shift`.
    Bell { bell: Bell, scale: f64, shift: f64 },
    /// `factor·x·(1 + bell(x))`: GELU, if the factor is ½.
    Gated { bell: Bell, factor: f64 },
    /// `c₀ + c₁m + c₂m²` of the mean m of the channels.
    OfMean([f64; 3]),
    /// `x − a − b·m`, with `[a, b]`.
    Centered([f64; 2]),
    /// The square of that.
    Squares([f64; 2]),
    /// The mean of the squares, with what else belongs to the variance.
    Variance(Spread),
    /// The root of that.
    Deviation(Spread),
}

/// A function from −1 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bell {
    /// `erf(x/√2)`.
    Erf,
    /// `tanh(√(2/π)·(x + 0.044715 x³))`.
    Tanh,
}

/// Whether a number of the file stands for `exact`: files round to single or half precision.
fn near(found: f64, exact: f64) -> bool {
    (found - exact).abs() <= 1e-3 * exact.abs()
}

impl Formula {
    /// x itself.
    pub const X: Self = Self::Cubic([0.0, 1.0, 0.0, 0.0]);

    /// `[shift, scale]` of `shift + scale·x`.
    pub fn linear(self) -> Option<[f64; 2]> {
        match self {
            Self::Cubic([shift, scale, 0.0, 0.0]) => Some([shift, scale]),
            _ => None,
        }
    }

    /// The bell of a GELU.
    pub fn gelu(self) -> Option<Bell> {
        match self {
            Self::Gated { bell, factor } if near(factor, 0.5) => Some(bell),
            _ => None,
        }
    }

    /// The product with a number.
    pub fn scaled(self, by: f64) -> Option<Self> {
        Some(match self {
            Self::Cubic(c) => Self::Cubic(c.map(|c| c * by)),
            Self::Bell { bell, scale, shift } => Self::Bell { bell, scale: scale * by, shift: shift * by },
            Self::Gated { bell, factor } => Self::Gated { bell, factor: factor * by },
            Self::OfMean(c) => Self::OfMean(c.map(|c| c * by)),
            Self::Variance(spread) => Self::Variance(spread.scaled(by)),
            _ => return None,
        })
    }

    /// The sum with a number.
    pub fn shifted(self, by: f64) -> Option<Self> {
        Some(match self {
            Self::Cubic([c0, c1, c2, c3]) => Self::Cubic([c0 + by, c1, c2, c3]),
            Self::Bell { bell, scale, shift } => Self::Bell { bell, scale, shift: shift + by },
            Self::OfMean([c0, c1, c2]) => Self::OfMean([c0 + by, c1, c2]),
            Self::Variance(spread) if by >= 0.0 => Self::Variance(Spread { eps: spread.eps + by, ..spread }),
            _ => return None,
        })
    }

    /// The sum of two formulas of the same x.
    pub fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Cubic(a), Self::Cubic(b)) => Some(Self::Cubic(std::array::from_fn(|i| a[i] + b[i]))),
            (Self::OfMean(a), Self::OfMean(b)) => Some(Self::OfMean(std::array::from_fn(|i| a[i] + b[i]))),
            (Self::Variance(spread), Self::OfMean(c)) | (Self::OfMean(c), Self::Variance(spread)) => {
                let constants = std::array::from_fn(|i| spread.constants[i] + c[i]);
                Some(Self::Variance(Spread { constants, ..spread }))
            }
            _ => None,
        }
    }

    /// The difference of two formulas of the same x.
    pub fn minus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::X, Self::OfMean([a, b, 0.0])) => Some(Self::Centered([a, b])),
            _ => self.plus(other.scaled(-1.0)?),
        }
    }

    /// The product of two formulas of the same x.
    pub fn times(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Centered(a), Self::Centered(b)) if a == b => Some(Self::Squares(a)),
            (Self::OfMean([a0, a1, 0.0]), Self::OfMean([b0, b1, 0.0])) => {
                Some(Self::OfMean([a0 * b0, a0 * b1 + a1 * b0, a1 * b1]))
            }
            (Self::Cubic([0.0, by, 0.0, 0.0]), Self::Bell { bell, scale, shift })
            | (Self::Bell { bell, scale, shift }, Self::Cubic([0.0, by, 0.0, 0.0]))
                if near(scale, shift) =>
            {
                Some(Self::Gated { bell, factor: by * scale })
            }
            (Self::Cubic(a), Self::Cubic(b)) => {
                let mut product = [0.0; 7];
                for (i, a) in a.iter().enumerate() {
                    b.iter().enumerate().for_each(|(j, b)| product[i + j] += a * b);
                }
                let [c0, c1, c2, c3, rest @ ..] = product;
                (rest == [0.0; 3]).then_some(Self::Cubic([c0, c1, c2, c3]))
            }
            _ => None,
        }
    }

    /// The power with this exponent.
    pub fn power(self, exponent: f64) -> Option<Self> {
        match exponent {
            2.0 => self.times(self),
            3.0 => self.times(self)?.times(self),
            _ => None,
        }
    }

    /// Its error function.
    pub fn erf(self) -> Option<Self> {
        let [shift, scale] = self.linear()?;
        let is = shift == 0.0 && near(scale, std::f64::consts::FRAC_1_SQRT_2);
        is.then_some(Self::Bell { bell: Bell::Erf, scale: 1.0, shift: 0.0 })
    }

    /// Its hyperbolic tangent, if that is a bell.
    pub fn tanh(self) -> Option<Self> {
        let linear = (2.0 / std::f64::consts::PI).sqrt();
        match self {
            Self::Cubic([0.0, c1, 0.0, c3]) if near(c1, linear) && near(c3, 0.044_715 * linear) => {
                Some(Self::Bell { bell: Bell::Tanh, scale: 1.0, shift: 0.0 })
            }
            _ => None,
        }
    }

    /// Its sigmoid, `½ (1 + tanh(½ x))`, if that is a bell.
    pub fn sigmoid(self) -> Option<Self> {
        self.scaled(0.5)?.tanh()?.scaled(0.5)?.shifted(0.5)
    }

    /// Its mean over the channels.
    pub fn mean(self) -> Option<Self> {
        match self {
            Self::X => Some(Self::OfMean([0.0, 1.0, 0.0])),
            Self::Squares(center) => Some(Self::Variance(Spread::about(center))),
            _ => None,
        }
    }

    /// Its root.
    pub fn root(self) -> Option<Self> {
        match self {
            Self::Variance(spread) => Some(Self::Deviation(spread)),
            _ => None,
        }
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cubic(_) => "a polynomial",
            Self::Bell { .. } | Self::Gated { .. } => "a part of GELU",
            Self::OfMean(_)
            | Self::Centered(_)
            | Self::Squares(_)
            | Self::Variance(_)
            | Self::Deviation(_) => "a part of a layer norm",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_found_however_it_is_written() {
        let erf =
            Formula::X.scaled(1.0 / f64::from(std::f32::consts::SQRT_2)).and_then(Formula::erf).unwrap();
        let shifted = erf.shifted(1.0).unwrap();
        let forms = [
            Formula::X.times(shifted).and_then(|f| f.scaled(0.5)),
            Formula::X.scaled(0.5).and_then(|x| x.times(shifted)),
            shifted.scaled(0.5).and_then(|cdf| cdf.times(Formula::X)),
        ];
        assert_eq!(forms.map(|form| form.and_then(Formula::gelu)), [Some(Bell::Erf); 3]);
        let cube = Formula::X.power(3.0).and_then(|cube| cube.scaled(0.044_715)).unwrap();
        let argument = Formula::X.plus(cube).and_then(|sum| sum.scaled(0.797_884_6)).unwrap();
        let bells = [
            argument.tanh().and_then(|f| f.shifted(1.0)).and_then(|f| f.scaled(0.5)),
            argument.scaled(2.0).and_then(Formula::sigmoid),
        ];
        for bell in bells {
            let gelu = bell.and_then(|bell| bell.times(Formula::X));
            assert_eq!(gelu.and_then(Formula::gelu), Some(Bell::Tanh));
        }
    }

    #[test]
    fn other_formulas_are_not_taken_for_gelu() {
        assert_eq!(Formula::X.erf(), None, "erf(x) is another function");
        assert_eq!(Formula::X.tanh(), None);
        let erf =
            Formula::X.scaled(f64::from(std::f32::consts::FRAC_1_SQRT_2)).and_then(Formula::erf).unwrap();
        assert_eq!(erf.times(Formula::X), None, "x·erf(x/√2)");
        let twice = erf.shifted(1.0).and_then(|f| f.times(Formula::X)).unwrap();
        assert_eq!((twice.gelu(), twice.shifted(1.0)), (None, None));
    }

    #[test]
    fn a_layer_norm_is_followed_step_by_step() {
        let centered = Formula::X.minus(Formula::X.mean().unwrap()).unwrap();
        let variance = centered.power(2.0).and_then(Formula::mean).unwrap();
        let expected = Spread { eps: 1e-5, ..Spread::about([0.0, 1.0]) };
        assert_eq!(variance.shifted(1e-5).and_then(Formula::root), Some(Formula::Deviation(expected)));
        assert_eq!(Formula::X.times(Formula::X).unwrap().mean(), None, "a mean of squares is no variance");
    }
}
