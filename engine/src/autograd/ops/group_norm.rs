//! Group normalization (Wu & He 2018) of images.

use super::vector;
use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::shapes::GroupNorm;
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes `γ (x − mean) / √(var + ε) + β` with the statistics of each group of channels of each image of `x` `[N, H, W,
    /// C]`, as `g` describes them; `gamma` and `beta` are `[C]`.
    pub fn group_norm(&mut self, x: &Var, gamma: &Var, beta: &Var, g: &GroupNorm) -> Result<Var> {
        const OP: &str = "group norm";
        match *x.shape() {
            [n, h, w, c] if (n, h * w, c) == (g.n, g.pixels, g.c) => {}
            ref found => {
                let GroupNorm { n, pixels, c, .. } = g;
                let expected = format!("expected {n} images of {pixels} pixels and {c} channels");
                return Err(Error::shape(OP, format!("{expected}, found {found:?}")));
            }
        }
        vector(OP, "a weight", gamma.shape(), g.c)?;
        vector(OP, "a bias", beta.shape(), g.c)?;
        let mut y = Tensor::like(self.device(), x.value(), x.shape())?;
        match self.device() {
            Device::Cpu(cpu) => {
                let affine = [gamma.value().data(), beta.value().data()];
                cpu::group_norm_forward(cpu, g, x.value().data(), affine, y.data_mut());
            }
            Device::Cuda(gpu) => {
                let affine = [gamma.value().on(gpu)?, beta.value().on(gpu)?];
                cuda::group_norm_forward(gpu, g, x.value().on(gpu)?, affine, y.on_mut(gpu)?)?;
            }
        }
        let op = GroupNormBackward { g: *g, x: x.value().clone(), gamma: gamma.value().clone() };
        Ok(self.record(&[x, gamma, beta], y, op))
    }
}

struct GroupNormBackward {
    g: GroupNorm,
    x: Tensor,
    gamma: Tensor,
}

impl Backward for GroupNormBackward {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { g, x, gamma } = *self;
        let dy = dy.as_stored(device, &x)?;
        let mut dx = Tensor::like(device, &x, x.shape())?;
        let (mut dgamma, mut dbeta) = (Tensor::empty(device, &[g.c])?, Tensor::empty(device, &[g.c])?);
        match device {
            Device::Cpu(cpu) => {
                let affine = [dgamma.data_mut(), dbeta.data_mut()];
                cpu::group_norm_backward(cpu, &g, x.data(), gamma.data(), dy.data(), dx.data_mut(), affine);
            }
            Device::Cuda(gpu) => {
                let affine = [dgamma.on_mut(gpu)?, dbeta.on_mut(gpu)?];
                let (x, gamma, dy, dx) = (x.on(gpu)?, gamma.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?);
                cuda::group_norm_backward(gpu, &g, x, gamma, dy, dx, affine)?;
            }
        }
        Ok(vec![Some(dx), Some(dgamma), Some(dbeta)])
    }
}
