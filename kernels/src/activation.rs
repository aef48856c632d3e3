//! Activations. This file lists them, `formulas.rs` computes each one for the CPU and the reference, and
//! `kernels/cuda/activation.cuh` for the GPU; nothing else distinguishes one activation from another. To add one, add a
//! variant, its line in each table below and, unless it is a clamp, its [`Function`]; then add its case to the header.

use crate::float::Float;
use crate::formulas::{
    Clamp, Elu, Gelu, GeluTanh, HardSigmoid, HardSwish, Identity, LeakyRelu, Sigmoid, Silu, Tanh,
};
use crate::shapes::ShapeError;
use serde::{Deserialize, Serialize};

pub(crate) use crate::formulas::Function;

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
    /// `min(max(0, x + 3), 6) / 6`.
    HardSigmoid,
    /// `x · min(max(0, x + 3), 6) / 6`.
    HardSwish,
    /// `(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)`.
    Tanh,
    /// `x` if it is positive, otherwise `alpha · (eˣ − 1)`.
    Elu {
        /// Minus the limit of small inputs.
        alpha: f32,
    },
    /// `x` if it is positive, otherwise `slope · x`.
    LeakyRelu {
        /// The slope for negative inputs.
        slope: f32,
    },
    /// `x · Φ(x)`, with the distribution function Φ of the standard normal distribution.
    Gelu,
    /// [`Activation::Gelu`], with `½ (1 + tanh(√(2/π) (x + 0.044715 x³)))` for Φ.
    GeluTanh,
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
            Self::HardSigmoid => "hard sigmoid",
            Self::HardSwish => "hard swish",
            Self::Tanh => "tanh",
            Self::Elu { .. } => "elu",
            Self::LeakyRelu { .. } => "leaky relu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu tanh",
        }
    }

    /// Rejects numbers that are not finite, and bounds that are not in order.
    pub fn check(self) -> Result<(), ShapeError> {
        match self {
            Self::Clamp { low, high } if !(low.is_finite() && high.is_finite() && low <= high) => {
                Err(ShapeError(format!("expected finite bounds in order, found {low} and {high}")))
            }
            Self::Elu { alpha: number } | Self::LeakyRelu { slope: number } if !number.is_finite() => {
                Err(ShapeError(format!("expected a finite number, found {number}")))
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
            Self::Sigmoid | Self::Silu | Self::HardSigmoid | Self::HardSwish | Self::Tanh => None,
            Self::Elu { .. } | Self::LeakyRelu { .. } | Self::Gelu | Self::GeluTanh => None,
        }
    }

    /// The value that [`Activation::gradient`] needs.
    pub fn saved(self) -> Saved {
        match self {
            Self::None | Self::Relu | Self::Relu6 | Self::Clamp { .. } => Saved::Output,
            Self::Sigmoid | Self::HardSigmoid | Self::Tanh => Saved::Output,
            Self::Silu | Self::HardSwish | Self::Gelu | Self::GeluTanh => Saved::Input,
            // The sign of the output is that of the input only if the number is positive.
            Self::Elu { .. } | Self::LeakyRelu { .. } => Saved::Input,
        }
    }

    /// The function's number in `activation.cuh`.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::None | Self::Relu | Self::Relu6 | Self::Clamp { .. } => 0,
            Self::Sigmoid => 1,
            Self::Silu => 2,
            Self::HardSigmoid => 3,
            Self::HardSwish => 4,
            Self::Tanh => 5,
            Self::Elu { .. } => 6,
            Self::LeakyRelu { .. } => 7,
            Self::Gelu => 8,
            Self::GeluTanh => 9,
        }
    }

    /// The function's number besides its argument, 0 if it has none.
    pub(crate) fn parameter(self) -> f32 {
        match self {
            Self::Elu { alpha: number } | Self::LeakyRelu { slope: number } => number,
            _ => 0.0,
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
            Self::HardSigmoid => visitor.visit(HardSigmoid),
            Self::HardSwish => visitor.visit(HardSwish),
            Self::Tanh => visitor.visit(Tanh),
            Self::Elu { alpha } => visitor.visit(Elu { alpha }),
            Self::LeakyRelu { slope } => visitor.visit(LeakyRelu { slope }),
            Self::Gelu => visitor.visit(Gelu),
            Self::GeluTanh => visitor.visit(GeluTanh),
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

/// A computation that is generic over the activation; see [`Activation::visit`].
pub(crate) trait Visitor {
    /// The type of the result.
    type Output;

    /// Runs the computation for `function`. Implementations are `#[inline(always)]`.
    fn visit(self, function: impl Function) -> Self::Output;
}

/// One value of each activation, for tests.
pub const EXAMPLES: &[Activation] = &[
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::Clamp { low: -1.0, high: 1.0 },
    Activation::Sigmoid,
    Activation::Silu,
    Activation::HardSigmoid,
    Activation::HardSwish,
    Activation::Tanh,
    Activation::Elu { alpha: 1.5 },
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Gelu,
    Activation::GeluTanh,
];
