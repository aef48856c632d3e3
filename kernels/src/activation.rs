//! Activations. This file defines each one for the CPU and the reference, and `kernels/cuda/activation.cuh` defines it
//! for the GPU; nothing else distinguishes one activation from another. To add one, add a variant, its line in each
//! table below and, unless it is a clamp, its [`Function`]; then add its case to the header.

use crate::float::Float;
use crate::shapes::ShapeError;
use serde::{Deserialize, Serialize};

/// A function applied to each value, on its own or at the end of a fused operation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `max(0, x)`.
    Relu,
    /// `min(max(0, x), 6)`.
    Relu6,
    /// `min(max(low, x), high)`, with finite bounds in this order.
    Clamp {
        /// The least output.
        low: f32,
        /// The greatest output.
        high: f32,
    },
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `x / (1 + e⁻ˣ)`.
    Silu,
}

/// The value from which an activation computes its gradient; the forward pass saves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The activation's input.
    Input,
    /// The activation's output, which the next operation usually saves anyway.
    Output,
}

impl Activation {
    /// The name, for tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "identity",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Clamp { .. } => "clamp",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
        }
    }

    /// Rejects bounds that are not finite or not in order.
    pub fn check(self) -> Result<(), ShapeError> {
        match self {
            Self::Clamp { low, high } if !(low.is_finite() && high.is_finite() && low <= high) => {
                Err(ShapeError(format!("expected finite bounds in order, found {low} and {high}")))
            }
            _ => Ok(()),
        }
    }

    /// The least and the greatest output of an activation that returns its input between them, infinite if there is
    /// none; `None` if the activation is not such a clamp.
    #[inline(always)]
    pub fn bounds(self) -> Option<[f32; 2]> {
        match self {
            Self::None => Some([f32::NEG_INFINITY, f32::INFINITY]),
            Self::Relu => Some([0.0, f32::INFINITY]),
            Self::Relu6 => Some([0.0, 6.0]),
            Self::Clamp { low, high } => Some([low, high]),
            Self::Sigmoid | Self::Silu => None,
        }
    }

    /// The value that [`Activation::gradient`] needs.
    pub fn saved(self) -> Saved {
        match self {
            Self::None | Self::Relu | Self::Relu6 | Self::Clamp { .. } | Self::Sigmoid => Saved::Output,
            Self::Silu => Saved::Input,
        }
    }

    /// The function's number in `activation.cuh`.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::None | Self::Relu | Self::Relu6 | Self::Clamp { .. } => 0,
            Self::Sigmoid => 1,
            Self::Silu => 2,
        }
    }

    /// Calls `visitor` with the function as a type, so that a loop is compiled for each.
    #[inline(always)]
    pub(crate) fn visit<V: Visitor>(self, visitor: V) -> V::Output {
        match self {
            Self::None => visitor.visit(Identity),
            Self::Relu => visitor.visit(Clamp { low: 0.0, high: f32::INFINITY }),
            Self::Relu6 => visitor.visit(Clamp { low: 0.0, high: 6.0 }),
            Self::Clamp { low, high } => visitor.visit(Clamp { low, high }),
            Self::Sigmoid => visitor.visit(Sigmoid),
            Self::Silu => visitor.visit(Silu),
        }
    }

    /// The output for the input `x`. A NaN gives a NaN.
    pub fn apply<F: Float>(self, x: F) -> F {
        struct At<F>(F);
        impl<F: Float> Visitor for At<F> {
            type Output = F;

            #[inline(always)]
            fn visit(self, function: impl Function) -> F {
                function.apply(self.0)
            }
        }
        self.visit(At(x))
    }

    /// The gradient of the input for the gradient `dy` of the output, from the value that [`Activation::saved`] names.
    pub fn gradient<F: Float>(self, saved: F, dy: F) -> F {
        struct At<F>(F, F);
        impl<F: Float> Visitor for At<F> {
            type Output = F;

            #[inline(always)]
            fn visit(self, function: impl Function) -> F {
                function.gradient(self.0, self.1)
            }
        }
        self.visit(At(saved, dy))
    }
}

/// The formulas of an activation, written once for every number type. Loops over them are vectorized, so they are
/// inlined and have no branches.
pub(crate) trait Function: Copy + Send + Sync {
    /// See [`Activation::apply`].
    fn apply<F: Float>(self, x: F) -> F;

    /// See [`Activation::gradient`].
    fn gradient<F: Float>(self, saved: F, dy: F) -> F;
}

/// A computation that is generic over the activation; see [`Activation::visit`].
pub(crate) trait Visitor {
    /// The type of the result.
    type Output;

    /// Runs the computation for `function`. Implementations are `#[inline(always)]`.
    fn visit(self, function: impl Function) -> Self::Output;
}

#[derive(Clone, Copy)]
struct Identity;

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

#[derive(Clone, Copy)]
struct Clamp {
    low: f32,
    high: f32,
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
struct Sigmoid;

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
struct Silu;

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

/// One value of each activation, for tests.
pub const EXAMPLES: &[Activation] = &[
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::Clamp { low: -1.0, high: 1.0 },
    Activation::Sigmoid,
    Activation::Silu,
];
