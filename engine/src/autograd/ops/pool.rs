//! Max and average pooling, with fixed or adaptive windows. The backward pass of max pooling finds the maxima again
//! from its input instead of storing indices.

use crate::autograd::tape::{Backward, Tape, Var};
use crate::graph::layer::Pool;
use crate::graph::shape::adaptive_geometry;
use crate::{Device, Result, Tensor};
use lopper_kernels::shapes::{AdaptivePool2d, Pool2d};
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes the largest value of each window of `x` `[N, H, W, C]`.
    pub fn max_pool2d(&mut self, x: &Var, pool: Pool) -> Result<Var> {
        let g = pool.geometry(x.shape())?;
        let mut y = Tensor::like(self.device(), x.value(), &g.y_shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::max_pool2d_forward(cpu, &g, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::max_pool2d_forward(gpu, &g, x.value().on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[x], y, MaxPool { g, x: x.value().clone() }))
    }

    /// Computes the mean of each window of `x` `[N, H, W, C]`.
    pub fn avg_pool2d(&mut self, x: &Var, pool: Pool) -> Result<Var> {
        let g = pool.geometry(x.shape())?;
        let mut y = Tensor::like(self.device(), x.value(), &g.y_shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::avg_pool2d_forward(cpu, &g, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::avg_pool2d_forward(gpu, &g, x.value().on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[x], y, AvgPool { g }))
    }

    /// Computes the means of `x` `[N, H, W, C]` over `out` (`[height, width]`) windows that cover the image.
    pub fn adaptive_avg_pool2d(&mut self, x: &Var, out: [usize; 2]) -> Result<Var> {
        let g = adaptive_geometry(x.shape(), out)?;
        let mut y = Tensor::like(self.device(), x.value(), &g.y_shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::adaptive_avg_pool2d_forward(cpu, &g, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => {
                cuda::adaptive_avg_pool2d_forward(gpu, &g, x.value().on(gpu)?, y.on_mut(gpu)?)?
            }
        }
        Ok(self.record(&[x], y, AdaptiveAvgPool { g }))
    }

    /// Computes the largest values of `x` `[N, H, W, C]` over `out` (`[height, width]`) windows that cover the image.
    pub fn adaptive_max_pool2d(&mut self, x: &Var, out: [usize; 2]) -> Result<Var> {
        let g = adaptive_geometry(x.shape(), out)?;
        let mut y = Tensor::like(self.device(), x.value(), &g.y_shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::adaptive_max_pool2d_forward(cpu, &g, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => {
                cuda::adaptive_max_pool2d_forward(gpu, &g, x.value().on(gpu)?, y.on_mut(gpu)?)?
            }
        }
        Ok(self.record(&[x], y, AdaptiveMaxPool { g, x: x.value().clone() }))
    }
}

struct MaxPool {
    g: Pool2d,
    x: Tensor,
}

impl Backward for MaxPool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = dy.as_stored(device, &self.x)?;
        let mut dx = Tensor::like(device, &dy, self.x.shape())?;
        match device {
            Device::Cpu(cpu) => {
                cpu::max_pool2d_input_grad(cpu, &self.g, self.x.data(), dy.data(), dx.data_mut())
            }
            Device::Cuda(gpu) => {
                cuda::max_pool2d_input_grad(gpu, &self.g, self.x.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?)?
            }
        }
        Ok(vec![Some(dx)])
    }
}

struct AvgPool {
    g: Pool2d,
}

impl Backward for AvgPool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::like(device, &dy, &[self.g.n, self.g.h, self.g.w, self.g.c])?;
        match device {
            Device::Cpu(cpu) => cpu::avg_pool2d_input_grad(cpu, &self.g, dy.data(), dx.data_mut()),
            Device::Cuda(gpu) => cuda::avg_pool2d_input_grad(gpu, &self.g, dy.on(gpu)?, dx.on_mut(gpu)?)?,
        }
        Ok(vec![Some(dx)])
    }
}

struct AdaptiveAvgPool {
    g: AdaptivePool2d,
}

impl Backward for AdaptiveAvgPool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::like(device, &dy, &[self.g.n, self.g.h, self.g.w, self.g.c])?;
        match device {
            Device::Cpu(cpu) => cpu::adaptive_avg_pool2d_input_grad(cpu, &self.g, dy.data(), dx.data_mut()),
            Device::Cuda(gpu) => {
                cuda::adaptive_avg_pool2d_input_grad(gpu, &self.g, dy.on(gpu)?, dx.on_mut(gpu)?)?
            }
        }
        Ok(vec![Some(dx)])
    }
}

struct AdaptiveMaxPool {
    g: AdaptivePool2d,
    x: Tensor,
}

impl Backward for AdaptiveMaxPool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = dy.as_stored(device, &self.x)?;
        let mut dx = Tensor::like(device, &dy, self.x.shape())?;
        match device {
            Device::Cpu(cpu) => {
                cpu::adaptive_max_pool2d_input_grad(cpu, &self.g, self.x.data(), dy.data(), dx.data_mut())
            }
            Device::Cuda(gpu) => cuda::adaptive_max_pool2d_input_grad(
                gpu,
                &self.g,
                self.x.on(gpu)?,
                dy.on(gpu)?,
                dx.on_mut(gpu)?,
            )?,
        }
        Ok(vec![Some(dx)])
    }
}
