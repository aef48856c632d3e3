//! Softmax and its logarithm over the last axis.

use super::rows;
use crate::tape::{Backward, Tape, Var};
use crate::{Device, Result, Tensor};
use kernels::cpu;

impl Tape {
    /// `exp(x) / Σ exp(x)` over the last axis of `x` `[…, K]`.
    pub fn softmax(&mut self, x: &Var) -> Result<Var> {
        let (rows, k) = rows("softmax", x)?;
        let mut y = Tensor::empty(self.device(), x.shape());
        let Device::Cpu(cpu) = self.device();
        cpu::softmax_forward(cpu, rows, k, x.value().data(), y.data_mut());
        Ok(self.record(&[x], y.clone(), Softmax { k, y }))
    }

    /// `x − log Σ exp(x)` over the last axis of `x` `[…, K]`.
    pub fn log_softmax(&mut self, x: &Var) -> Result<Var> {
        let (rows, k) = rows("log softmax", x)?;
        let mut y = Tensor::empty(self.device(), x.shape());
        let Device::Cpu(cpu) = self.device();
        cpu::log_softmax_forward(cpu, rows, k, x.value().data(), y.data_mut());
        Ok(self.record(&[x], y.clone(), LogSoftmax { k, y }))
    }
}

struct Softmax {
    k: usize,
    y: Tensor,
}

impl Backward for Softmax {
    /// `dx = y · (dy − Σ dy·y)`.
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
    /// `dx = dy − exp(y) · Σ dy`.
    fn backward(self: Box<Self>, _: &Device, mut dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        for (dy, y) in dy.data_mut().chunks_exact_mut(self.k).zip(self.y.data().chunks_exact(self.k)) {
            let total: f32 = dy.iter().sum();
            dy.iter_mut().zip(y).for_each(|(dy, y)| *dy -= y.exp() * total);
        }
        Ok(vec![Some(dy)])
    }
}
