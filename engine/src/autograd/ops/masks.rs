//! The mask of a weight in a step of training.

use super::arithmetic::product;
use crate::{Device, Result, Tensor};
use lopper_kernels::pattern::Pattern;
use std::sync::Arc;

/// What a step knows of a weight that is zero where its mask is.
pub(super) struct Mask {
    values: Tensor,
    /// The zeros of the mask.
    pub pattern: Arc<Pattern>,
    /// Whether masked weights get their gradients, too.
    pub whole: bool,
}

impl Mask {
    pub fn new(mask: &Tensor, pattern: &Arc<Pattern>, whole: bool) -> Self {
        Self { values: mask.clone(), pattern: Arc::clone(pattern), whole }
    }

    /// The gradient `dw` of a weight, of which a device has computed all, without that of masked weights.
    pub fn apply(&self, device: &Device, dw: &Tensor) -> Result<Tensor> {
        product(device, dw, &self.values)
    }
}
