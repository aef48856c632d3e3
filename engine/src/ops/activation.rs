//! ReLU and ReLU6. Both go back from their output alone, which the next operation keeps anyway.

use crate::tape::{Backward, Tape, Var};
use crate::{Device, Result, Tensor};
use kernels::cpu;

impl Tape {
    /// `max(0, x)`, of any shape.
    pub fn relu(&mut self, x: &Var) -> Result<Var> {
        let mut y = Tensor::empty(self.device(), x.shape());
        let Device::Cpu(cpu) = self.device();
        cpu::relu_forward(cpu, x.value().data(), y.data_mut());
        Ok(self.record(&[x], y.clone(), Relu { y }))
    }

    /// `min(max(0, x), 6)`, of any shape.
    pub fn relu6(&mut self, x: &Var) -> Result<Var> {
        let mut y = Tensor::empty(self.device(), x.shape());
        let Device::Cpu(cpu) = self.device();
        cpu::relu6_forward(cpu, x.value().data(), y.data_mut());
        Ok(self.record(&[x], y.clone(), Relu6 { y }))
    }
}

struct Relu {
    y: Tensor,
}

impl Backward for Relu {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::empty(device, dy.shape());
        let Device::Cpu(cpu) = device;
        cpu::relu_input_grad(cpu, self.y.data(), dy.data(), dx.data_mut());
        Ok(vec![Some(dx)])
    }
}

struct Relu6 {
    y: Tensor,
}

impl Backward for Relu6 {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::empty(device, dy.shape());
        let Device::Cpu(cpu) = device;
        cpu::relu6_input_grad(cpu, self.y.data(), dy.data(), dx.data_mut());
        Ok(vec![Some(dx)])
    }
}
