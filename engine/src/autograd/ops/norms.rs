//! Layer normalization (Ba, Kiros & Hinton 2016) over the last axis, and group normalization (Wu & He 2018) of images.

use super::{rows, vector};
use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::shapes::{GroupNorm, LayerNorm};
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
        self.norm(OP, x, [gamma, beta], Norm::Layer(*g))
    }

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
        self.norm(OP, x, [gamma, beta], Norm::Group(*g))
    }

    fn norm(&mut self, op: &'static str, x: &Var, [gamma, beta]: [&Var; 2], norm: Norm) -> Result<Var> {
        vector(op, "a weight", gamma.shape(), norm.channels())?;
        vector(op, "a bias", beta.shape(), norm.channels())?;
        let mut y = Tensor::like(self.device(), x.value(), x.shape())?;
        norm.forward(self.device(), x.value(), [gamma.value(), beta.value()], &mut y)?;
        let op = NormBackward { norm, x: x.value().clone(), gamma: gamma.value().clone() };
        Ok(self.record(&[x, gamma, beta], y, op))
    }
}

/// A norm whose statistics are those of its input, whatever the mode.
#[derive(Clone, Copy)]
enum Norm {
    Layer(LayerNorm),
    Group(GroupNorm),
}

impl Norm {
    fn channels(&self) -> usize {
        match self {
            Self::Layer(g) => g.c,
            Self::Group(g) => g.c,
        }
    }

    fn forward(
        &self,
        device: &Device,
        x: &Tensor,
        [gamma, beta]: [&Tensor; 2],
        y: &mut Tensor,
    ) -> Result<()> {
        match device {
            Device::Cpu(cpu) => {
                let (x, affine, y) = (x.data(), [gamma.data(), beta.data()], y.data_mut());
                match self {
                    Self::Layer(g) => cpu::layer_norm_forward(cpu, g, x, affine, y),
                    Self::Group(g) => cpu::group_norm_forward(cpu, g, x, affine, y),
                }
            }
            Device::Cuda(gpu) => {
                let (x, affine, y) = (x.on(gpu)?, [gamma.on(gpu)?, beta.on(gpu)?], y.on_mut(gpu)?);
                match self {
                    Self::Layer(g) => cuda::layer_norm_forward(gpu, g, x, affine, y)?,
                    Self::Group(g) => cuda::group_norm_forward(gpu, g, x, affine, y)?,
                }
            }
        }
        Ok(())
    }

    /// Sets the gradients of the input and of both parameters.
    fn backward(
        &self,
        device: &Device,
        [x, gamma, dy]: [&Tensor; 3],
        dx: &mut Tensor,
        [dgamma, dbeta]: [&mut Tensor; 2],
    ) -> Result<()> {
        match device {
            Device::Cpu(cpu) => {
                let (x, gamma, dy, dx) = (x.data(), gamma.data(), dy.data(), dx.data_mut());
                let affine = [dgamma.data_mut(), dbeta.data_mut()];
                match self {
                    Self::Layer(g) => cpu::layer_norm_backward(cpu, g, x, gamma, dy, dx, affine),
                    Self::Group(g) => cpu::group_norm_backward(cpu, g, x, gamma, dy, dx, affine),
                }
            }
            Device::Cuda(gpu) => {
                let (x, gamma, dy, dx) = (x.on(gpu)?, gamma.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?);
                let affine = [dgamma.on_mut(gpu)?, dbeta.on_mut(gpu)?];
                match self {
                    Self::Layer(g) => cuda::layer_norm_backward(gpu, g, x, gamma, dy, dx, affine)?,
                    Self::Group(g) => cuda::group_norm_backward(gpu, g, x, gamma, dy, dx, affine)?,
                }
            }
        }
        Ok(())
    }
}

struct NormBackward {
    norm: Norm,
    x: Tensor,
    gamma: Tensor,
}

impl Backward for NormBackward {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { norm, x, gamma } = *self;
        let dy = dy.as_stored(device, &x)?;
        let mut dx = Tensor::like(device, &x, x.shape())?;
        let [mut dgamma, mut dbeta] =
            [Tensor::empty(device, &[norm.channels()])?, Tensor::empty(device, &[norm.channels()])?];
        norm.backward(device, [&x, &gamma, &dy], &mut dx, [&mut dgamma, &mut dbeta])?;
        Ok(vec![Some(dx), Some(dgamma), Some(dbeta)])
    }
}
