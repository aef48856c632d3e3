//! Softmax and log-softmax over the last axis.

use super::rows;
use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Result, Tensor};
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes `exp(x) / Σ exp(x)` over the last axis of `x` `[…, K]`, in the type of `x`.
    pub fn softmax(&mut self, x: &Var) -> Result<Var> {
        self.softmax_of(x, false)
    }

    /// Computes `x − log Σ exp(x)` over the last axis of `x` `[…, K]`, in the type of `x`.
    pub fn log_softmax(&mut self, x: &Var) -> Result<Var> {
        self.softmax_of(x, true)
    }

    /// The softmax, or its logarithm.
    fn softmax_of(&mut self, x: &Var, log: bool) -> Result<Var> {
        let (rows, k) = rows(if log { "log softmax" } else { "softmax" }, x)?;
        let mut y = Tensor::like(self.device(), x.value(), x.shape())?;
        match self.device() {
            Device::Cpu(cpu) => {
                let forward = if log { cpu::log_softmax_forward } else { cpu::softmax_forward };
                forward(cpu, rows, k, x.value().data(), y.data_mut());
            }
            Device::Cuda(gpu) => {
                let forward = if log { cuda::log_softmax_forward } else { cuda::softmax_forward };
                forward(gpu, rows, k, x.value().on(gpu)?, y.on_mut(gpu)?)?;
            }
        }
        Ok(self.record(&[x], y.clone(), SoftmaxBackward { log, size: [rows, k], y }))
    }
}

struct SoftmaxBackward {
    /// Whether the output is the logarithm.
    log: bool,
    /// Rows, and the length of one.
    size: [usize; 2],
    /// The output.
    y: Tensor,
}

impl Backward for SoftmaxBackward {
    /// Computes `dx = y · (dy − Σ dy·y)`, or of the logarithm `dx = dy − exp(y) · Σ dy`.
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { log, size, y } = *self;
        let dy = dy.as_stored(device, &y)?;
        let mut dx = Tensor::like(device, &y, y.shape())?;
        match device {
            Device::Cpu(cpu) => {
                let grad = if log { cpu::log_softmax_input_grad } else { cpu::softmax_input_grad };
                grad(cpu, size, y.data(), dy.data(), dx.data_mut());
            }
            Device::Cuda(gpu) => {
                let grad = if log { cuda::log_softmax_input_grad } else { cuda::softmax_input_grad };
                grad(gpu, size, y.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?)?;
            }
        }
        Ok(vec![Some(dx)])
    }
}
