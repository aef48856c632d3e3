//! Layer normalization, and the channels that pruning removed from it.

use crate::graph::geometry::checked;
use crate::{Error, Param, Result, Tensor};
use lopper_kernels::shapes;
use serde::{Deserialize, Serialize};

/// Layer normalization (Ba, Kiros & Hinton 2016) over the channels of each pixel, or over the features of each vector:
/// `γ (x − mean) / √(var + ε) + β`, with the statistics of the pixel.
///
/// Every channel takes part in the statistics, so a channel that is removed is still counted: constants among the `width`
/// channels that are not part of the input any more are remembered by their sum and their sum of squares.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNorm {
    /// γ, `[C]`.
    pub weight: Param,
    /// β, `[C]`.
    pub bias: Param,
    /// ε.
    pub eps: f32,
    /// The channels that the statistics cover: C, and those that were removed.
    pub width: usize,
    /// The sum of the channels that were removed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sum: f64,
    /// The sum of their squares.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub squares: f64,
}

/// Files name only constants that are not zero.
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl LayerNorm {
    /// Creates a norm of `channels` with γ = 1 and β = 0.
    pub fn new(channels: usize, eps: f32) -> Self {
        Self {
            weight: Param::new(Tensor::full(&[channels], 1.0)),
            bias: Param::new(Tensor::zeros(&[channels])),
            eps,
            width: channels,
            sum: 0.0,
            squares: 0.0,
        }
    }

    /// Number of channels of the input.
    pub fn channels(&self) -> usize {
        self.weight.value().len()
    }

    /// Whether the statistics cover just the channels of the input.
    pub fn is_whole(&self) -> bool {
        self.width == self.channels()
    }

    /// The checked geometry for an input `[…, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::LayerNorm> {
        const OP: &str = "layer norm";
        let (c, &Self { eps, width, sum, squares, .. }) = (self.channels(), self);
        match x {
            [outer @ .., last] if *last == c => {
                let g = shapes::LayerNorm { rows: outer.iter().product(), c, width, sum, squares, eps };
                checked(OP, g, shapes::LayerNorm::check)
            }
            _ => Err(Error::shape(OP, format!("expected {c} channels, found {x:?}"))),
        }
    }

    /// Remembers the values of constant channels that are about to be cut out of the input. The width stays.
    pub(crate) fn remember(&mut self, constants: impl IntoIterator<Item = f32>) {
        for constant in constants.into_iter().map(f64::from) {
            self.sum += constant;
            self.squares += constant * constant;
        }
    }
}
