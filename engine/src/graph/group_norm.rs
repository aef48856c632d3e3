//! Group normalization, and instance normalization.

use crate::graph::geometry::{checked, image};
use crate::{Error, Param, Result, Tensor};
use lopper_kernels::shapes;
use serde::{Deserialize, Serialize};

/// Group normalization (Wu & He 2018) of images: the channels are divided into groups of neighbors, and each is `γ (x − mean) /
/// √(var + ε) + β` with the statistics of all pixels and channels of its group in one image. They do not depend on the
/// batch, so training and inference compute the same.
///
/// Instance normalization (Ulyanov, Vedaldi & Lempitsky 2016) is the case of one channel a group. Channels of a group are
/// removed together, because the statistics of the others would change otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    /// γ, `[C]`.
    pub weight: Param,
    /// β, `[C]`.
    pub bias: Param,
    /// Groups of channels, a divisor of C.
    pub groups: usize,
    /// ε.
    pub eps: f32,
}

impl GroupNorm {
    /// Creates a norm of `channels` in `groups` groups with γ = 1 and β = 0.
    pub fn new(channels: usize, groups: usize, eps: f32) -> Self {
        Self {
            weight: Param::new(Tensor::full(&[channels], 1.0)),
            bias: Param::new(Tensor::zeros(&[channels])),
            groups,
            eps,
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.weight.value().len()
    }

    /// Whether each channel is a group: instance normalization.
    pub fn is_instance_norm(&self) -> bool {
        self.groups == self.channels()
    }

    /// The checked geometry for an input `[N, H, W, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::GroupNorm> {
        const OP: &str = "group norm";
        let [n, h, w, found] = image(OP, x)?;
        let (c, &Self { groups, eps, .. }) = (self.channels(), self);
        match found == c {
            true => {
                checked(OP, shapes::GroupNorm { n, pixels: h * w, c, groups, eps }, shapes::GroupNorm::check)
            }
            false => Err(Error::shape(OP, format!("expected {c} channels, found {x:?}"))),
        }
    }
}
