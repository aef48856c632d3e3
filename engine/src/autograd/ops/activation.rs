//! Activations, which save the input or the output, whichever their gradient needs.

use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Result, Tensor};
use lopper_kernels::params::{Activation, Saved};
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes `activation(x)` for any shape.
    pub fn activation(&mut self, x: &Var, activation: Activation) -> Result<Var> {
        let mut y = Tensor::like(self.device(), x.value(), x.shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::activation_forward(cpu, activation, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => {
                cuda::activation_forward(gpu, activation, x.value().on(gpu)?, y.on_mut(gpu)?)?
            }
        }
        let saved = match activation.saved() {
            Saved::Input => x.value().clone(),
            Saved::Output => y.clone(),
        };
        Ok(self.record(&[x], y, ActivationBackward { activation, saved }))
    }
}

struct ActivationBackward {
    activation: Activation,
    saved: Tensor,
}

impl Backward for ActivationBackward {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { activation, saved } = *self;
        let dy = dy.as_stored(device, &saved)?;
        let mut dx = Tensor::like(device, &dy, dy.shape())?;
        match device {
            Device::Cpu(cpu) => {
                cpu::activation_input_grad(cpu, activation, saved.data(), dy.data(), dx.data_mut())
            }
            Device::Cuda(gpu) => {
                cuda::activation_input_grad(gpu, activation, saved.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?)?
            }
        }
        Ok(vec![Some(dx)])
    }
}
