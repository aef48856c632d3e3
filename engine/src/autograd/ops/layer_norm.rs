//! Layer normalization (Ba, Kiros & Hinton 2016) over the last axis.

use super::{rows, vector};
use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::shapes::LayerNorm;
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes `γ (x − mean) / √(var + ε) + β` with the statistics of each row of `x` `[…, C]`, as `g` describes them;
    /// `gamma` and `beta` are `[C]`.
    pub fn layer_norm(&mut self, x: &Var, gamma: &Var, beta: &Var, g: &LayerNorm) -> Result<Var> {
        const OP: &str = "layer norm";
        let (found, c) = rows(OP, x)?;
        if (found, c) != (g.rows, g.c) {
            return Err(Error::shape(OP, format!("expected [{}, {}], found {:?}", g.rows, g.c, x.shape())));
        }
        vector(OP, "a weight", gamma.shape(), c)?;
        vector(OP, "a bias", beta.shape(), c)?;
        let mut y = Tensor::like(self.device(), x.value(), x.shape())?;
        match self.device() {
            Device::Cpu(cpu) => {
                let affine = [gamma.value().data(), beta.value().data()];
                cpu::layer_norm_forward(cpu, g, x.value().data(), affine, y.data_mut());
            }
            Device::Cuda(gpu) => {
                let affine = [gamma.value().on(gpu)?, beta.value().on(gpu)?];
                cuda::layer_norm_forward(gpu, g, x.value().on(gpu)?, affine, y.on_mut(gpu)?)?;
            }
        }
        let op = LayerNormBackward { g: *g, x: x.value().clone(), gamma: gamma.value().clone() };
        Ok(self.record(&[x, gamma, beta], y, op))
    }
}

struct LayerNormBackward {
    g: LayerNorm,
    x: Tensor,
    gamma: Tensor,
}

impl Backward for LayerNormBackward {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { g, x, gamma } = *self;
        let dy = dy.as_stored(device, &x)?;
        let mut dx = Tensor::like(device, &x, x.shape())?;
        let (mut dgamma, mut dbeta) = (Tensor::empty(device, &[g.c])?, Tensor::empty(device, &[g.c])?);
        match device {
            Device::Cpu(cpu) => {
                let affine = [dgamma.data_mut(), dbeta.data_mut()];
                cpu::layer_norm_backward(cpu, &g, x.data(), gamma.data(), dy.data(), dx.data_mut(), affine);
            }
            Device::Cuda(gpu) => {
                let affine = [dgamma.on_mut(gpu)?, dbeta.on_mut(gpu)?];
                let (x, gamma, dy, dx) = (x.on(gpu)?, gamma.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?);
                cuda::layer_norm_backward(gpu, &g, x, gamma, dy, dx, affine)?;
            }
        }
        Ok(vec![Some(dx), Some(dgamma), Some(dbeta)])
    }
}
