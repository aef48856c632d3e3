//! Loss scaling: shifts gradients into the range of f16 (Micikevicius et al., "Mixed Precision Training", 2018).

use crate::autograd::exec::ParamGradients;
use crate::{Device, Result};
use lopper_kernels::cuda::{self, DeviceBuffer, Dtype};
use serde::{Deserialize, Serialize};

/// The factor applied to the loss before the backward pass. It halves whenever a gradient overflows, and that step is
/// skipped. It doubles after [`PATIENCE`] steps without overflow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LossScale {
    factor: f32,
    steps: u32,
}

const START: f32 = 65_536.0;
const PATIENCE: u32 = 2000;

impl LossScale {
    /// The scale for trainings on `device`: always 1 if gradients have the range of f32.
    pub fn new(device: &Device) -> Self {
        let narrow = matches!(device, Device::Cuda(gpu) if gpu.precision() == Dtype::F16);
        Self { factor: if narrow { START } else { 1.0 }, steps: 0 }
    }

    /// Whether a training can reach this scale.
    pub fn is_valid(&self) -> bool {
        self.factor > 0.0 && self.factor.is_finite() && self.steps < PATIENCE
    }

    /// The factor for the next step.
    pub fn factor(&self) -> f32 {
        self.factor
    }

    /// Divides `gradients` of a scaled loss by the factor, and updates the factor. Returns `false` if a gradient is not
    /// finite and a smaller factor may help; the gradients are then unusable.
    pub fn unscale(&mut self, gradients: &mut ParamGradients, device: &Device) -> Result<bool> {
        let Device::Cuda(gpu) = device else { return Ok(true) };
        if self.factor == 1.0 {
            return Ok(true);
        }
        let buffers: Vec<&DeviceBuffer> = gradients.values().map(|g| g.on(gpu)).collect::<Result<_>>()?;
        if cuda::has_non_finite(gpu, &buffers)? {
            (self.factor, self.steps) = (self.factor / 2.0, 0);
            return Ok(false);
        }
        for gradient in gradients.values_mut() {
            let mut unscaled = crate::Tensor::empty(device, gradient.shape())?;
            cuda::scale(gpu, 1.0 / self.factor, gradient.on(gpu)?, unscaled.on_mut(gpu)?)?;
            *gradient = unscaled;
        }
        self.steps += 1;
        if self.steps == PATIENCE {
            (self.factor, self.steps) = (self.factor * 2.0, 0);
        }
        Ok(true)
    }
}
