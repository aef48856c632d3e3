//! Max and average pooling, by windows and adaptive. Max pooling finds its maxima again on the way back, from its
//! input, instead of storing indices.

use crate::layer::Pool;
use crate::shape::adaptive_geometry;
use crate::tape::{Backward, Tape, Var};
use crate::{Device, Result, Tensor};
use kernels::cpu;
use kernels::shapes::{AdaptivePool2d, Pool2d};

impl Tape {
    /// The largest value of each window of `x` `[N, H, W, C]`.
    pub fn max_pool2d(&mut self, x: &Var, pool: Pool) -> Result<Var> {
        let g = pool.geometry(x.shape())?;
        let mut y = Tensor::empty(self.device(), &g.y_shape());
        let Device::Cpu(cpu) = self.device();
        cpu::max_pool2d_forward(cpu, &g, x.value().data(), y.data_mut());
        Ok(self.record(&[x], y, MaxPool { g, x: x.value().clone() }))
    }

    /// The mean of each window of `x` `[N, H, W, C]`.
    pub fn avg_pool2d(&mut self, x: &Var, pool: Pool) -> Result<Var> {
        let g = pool.geometry(x.shape())?;
        let mut y = Tensor::empty(self.device(), &g.y_shape());
        let Device::Cpu(cpu) = self.device();
        cpu::avg_pool2d_forward(cpu, &g, x.value().data(), y.data_mut());
        Ok(self.record(&[x], y, AvgPool { g }))
    }

    /// The means of `x` `[N, H, W, C]` over `out` (`[height, width]`) windows that cover the image.
    pub fn adaptive_avg_pool2d(&mut self, x: &Var, out: [usize; 2]) -> Result<Var> {
        let g = adaptive_geometry(x.shape(), out)?;
        let mut y = Tensor::empty(self.device(), &g.y_shape());
        let Device::Cpu(cpu) = self.device();
        cpu::adaptive_avg_pool2d_forward(cpu, &g, x.value().data(), y.data_mut());
        Ok(self.record(&[x], y, AdaptiveAvgPool { g }))
    }

    /// The largest values of `x` `[N, H, W, C]` over `out` (`[height, width]`) windows that cover the image.
    pub fn adaptive_max_pool2d(&mut self, x: &Var, out: [usize; 2]) -> Result<Var> {
        let g = adaptive_geometry(x.shape(), out)?;
        let mut y = Tensor::empty(self.device(), &g.y_shape());
        let Device::Cpu(cpu) = self.device();
        cpu::adaptive_max_pool2d_forward(cpu, &g, x.value().data(), y.data_mut());
        Ok(self.record(&[x], y, AdaptiveMaxPool { g, x: x.value().clone() }))
    }
}

struct MaxPool {
    g: Pool2d,
    x: Tensor,
}

impl Backward for MaxPool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::empty(device, self.x.shape());
        let Device::Cpu(cpu) = device;
        cpu::max_pool2d_input_grad(cpu, &self.g, self.x.data(), dy.data(), dx.data_mut());
        Ok(vec![Some(dx)])
    }
}

struct AvgPool {
    g: Pool2d,
}

impl Backward for AvgPool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::empty(device, &[self.g.n, self.g.h, self.g.w, self.g.c]);
        let Device::Cpu(cpu) = device;
        cpu::avg_pool2d_input_grad(cpu, &self.g, dy.data(), dx.data_mut());
        Ok(vec![Some(dx)])
    }
}

struct AdaptiveAvgPool {
    g: AdaptivePool2d,
}

impl Backward for AdaptiveAvgPool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::empty(device, &[self.g.n, self.g.h, self.g.w, self.g.c]);
        let Device::Cpu(cpu) = device;
        cpu::adaptive_avg_pool2d_input_grad(cpu, &self.g, dy.data(), dx.data_mut());
        Ok(vec![Some(dx)])
    }
}

struct AdaptiveMaxPool {
    g: AdaptivePool2d,
    x: Tensor,
}

impl Backward for AdaptiveMaxPool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::empty(device, self.x.shape());
        let Device::Cpu(cpu) = device;
        cpu::adaptive_max_pool2d_input_grad(cpu, &self.g, self.x.data(), dy.data(), dx.data_mut());
        Ok(vec![Some(dx)])
    }
}
