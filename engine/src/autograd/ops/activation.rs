//! ReLU and ReLU6. The backward pass of both needs only the output, which the next operation keeps anyway.

use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Result, Tensor};
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes `max(0, x)` for any shape.
    pub fn relu(&mut self, x: &Var) -> Result<Var> {
        let mut y = Tensor::like(self.device(), x.value(), x.shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::relu_forward(cpu, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::relu_forward(gpu, x.value().on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[x], y.clone(), Relu { y }))
    }

    /// Computes `min(max(0, x), 6)` for any shape.
    pub fn relu6(&mut self, x: &Var) -> Result<Var> {
        let mut y = Tensor::like(self.device(), x.value(), x.shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::relu6_forward(cpu, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::relu6_forward(gpu, x.value().on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[x], y.clone(), Relu6 { y }))
    }
}

struct Relu {
    y: Tensor,
}

impl Backward for Relu {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = dy.as_stored(device, &self.y)?;
        let mut dx = Tensor::like(device, &dy, dy.shape())?;
        match device {
            Device::Cpu(cpu) => cpu::relu_input_grad(cpu, self.y.data(), dy.data(), dx.data_mut()),
            Device::Cuda(gpu) => cuda::relu_input_grad(gpu, self.y.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?)?,
        }
        Ok(vec![Some(dx)])
    }
}

struct Relu6 {
    y: Tensor,
}

impl Backward for Relu6 {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = dy.as_stored(device, &self.y)?;
        let mut dx = Tensor::like(device, &dy, dy.shape())?;
        match device {
            Device::Cpu(cpu) => cpu::relu6_input_grad(cpu, self.y.data(), dy.data(), dx.data_mut()),
            Device::Cuda(gpu) => cuda::relu6_input_grad(gpu, self.y.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?)?,
        }
        Ok(vec![Some(dx)])
    }
}
