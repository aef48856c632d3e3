//! Softmax and log-softmax over the last axis.

use super::rows;
use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Result, Tensor};
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes `exp(x) / Σ exp(x)` over the last axis of `x` `[…, K]`.
    pub fn softmax(&mut self, x: &Var) -> Result<Var> {
        let (rows, k) = rows("softmax", x)?;
        let x_value = x.value().as_single(self.device())?;
        let mut y = Tensor::empty(self.device(), x.shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::softmax_forward(cpu, rows, k, x_value.data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::softmax_forward(gpu, rows, k, x_value.on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[x], y.clone(), Softmax { k, y }))
    }

    /// Computes `x − log Σ exp(x)` over the last axis of `x` `[…, K]`.
    pub fn log_softmax(&mut self, x: &Var) -> Result<Var> {
        let (rows, k) = rows("log softmax", x)?;
        let x_value = x.value().as_single(self.device())?;
        let mut y = Tensor::empty(self.device(), x.shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::log_softmax_forward(cpu, rows, k, x_value.data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::log_softmax_forward(gpu, rows, k, x_value.on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[x], y.clone(), LogSoftmax { k, y }))
    }
}

struct Softmax {
    k: usize,
    y: Tensor,
}

impl Backward for Softmax {
    /// Computes `dx = y · (dy − Σ dy·y)`.
    fn backward(self: Box<Self>, _: &Device, mut dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        for (dy, y) in dy.data_mut().chunks_exact_mut(self.k).zip(self.y.data().chunks_exact(self.k)) {
            let dot: f32 = dy.iter().zip(y).map(|(dy, y)| dy * y).sum();
            dy.iter_mut().zip(y).for_each(|(dy, y)| *dy = y * (*dy - dot));
        }
        Ok(vec![Some(dy)])
    }
}

struct LogSoftmax {
    k: usize,
    y: Tensor,
}

impl Backward for LogSoftmax {
    /// Computes `dx = dy − exp(y) · Σ dy`.
    fn backward(self: Box<Self>, _: &Device, mut dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        for (dy, y) in dy.data_mut().chunks_exact_mut(self.k).zip(self.y.data().chunks_exact(self.k)) {
            let total: f32 = dy.iter().sum();
            dy.iter_mut().zip(y).for_each(|(dy, y)| *dy -= y.exp() * total);
        }
        Ok(vec![Some(dy)])
    }
}
