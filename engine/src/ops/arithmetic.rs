//! Sums, differences, products and reductions of tensors of one shape.

use super::same_shape;
use crate::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use kernels::cpu;

impl Tape {
    /// `a + b`, of one shape.
    pub fn add(&mut self, a: &Var, b: &Var) -> Result<Var> {
        same_shape("add", a.shape(), b.shape())?;
        let mut y = Tensor::empty(self.device(), a.shape());
        let Device::Cpu(cpu) = self.device();
        cpu::add_forward(cpu, a.value().data(), b.value().data(), y.data_mut());
        Ok(self.record(&[a, b], y, Add))
    }

    /// `a − b`, of one shape.
    pub fn sub(&mut self, a: &Var, b: &Var) -> Result<Var> {
        same_shape("sub", a.shape(), b.shape())?;
        let mut y = a.value().clone();
        let Device::Cpu(cpu) = self.device();
        cpu::axpy(cpu, -1.0, b.value().data(), y.data_mut());
        Ok(self.record(&[a, b], y, Sub))
    }

    /// `a · b`, element by element, of one shape.
    pub fn mul(&mut self, a: &Var, b: &Var) -> Result<Var> {
        same_shape("mul", a.shape(), b.shape())?;
        let mut y = Tensor::empty(self.device(), a.shape());
        let Device::Cpu(cpu) = self.device();
        cpu::mul_forward(cpu, a.value().data(), b.value().data(), y.data_mut());
        let op = Mul { a: a.value().clone(), b: b.value().clone() };
        Ok(self.record(&[a, b], y, op))
    }

    /// `factor · x`.
    pub fn scale(&mut self, x: &Var, factor: f32) -> Result<Var> {
        let y = scaled(self.device(), factor, x.value());
        Ok(self.record(&[x], y, Scale { factor }))
    }

    /// The sum of all elements, of shape `[]`.
    pub fn sum(&mut self, x: &Var) -> Result<Var> {
        let Device::Cpu(cpu) = self.device();
        let y = Tensor::scalar(cpu::sum(cpu, x.value().data()));
        Ok(self.record(&[x], y, Sum { shape: x.shape().to_vec() }))
    }

    /// The mean of all elements, of shape `[]`; an error where there are none.
    pub fn mean(&mut self, x: &Var) -> Result<Var> {
        if x.value().is_empty() {
            return Err(Error::shape("mean", "of no elements"));
        }
        // Divided first: the sum of values whose mean is finite may not be.
        let shares = self.scale(x, 1.0 / x.value().len() as f32)?;
        self.sum(&shares)
    }
}

fn scaled(device: &Device, factor: f32, x: &Tensor) -> Tensor {
    let mut y = Tensor::empty(device, x.shape());
    let Device::Cpu(cpu) = device;
    cpu::scale(cpu, factor, x.data(), y.data_mut());
    y
}

struct Add;

impl Backward for Add {
    fn backward(self: Box<Self>, _: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(dy.clone()), Some(dy)])
    }
}

struct Sub;

impl Backward for Sub {
    fn backward(
        self: Box<Self>,
        device: &Device,
        dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let db = wanted[1].then(|| scaled(device, -1.0, &dy));
        Ok(vec![Some(dy), db])
    }
}

struct Mul {
    a: Tensor,
    b: Tensor,
}

impl Backward for Mul {
    fn backward(
        self: Box<Self>,
        device: &Device,
        dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let times_dy = |other: &Tensor| {
            let mut dx = Tensor::empty(device, dy.shape());
            let Device::Cpu(cpu) = device;
            cpu::mul_forward(cpu, dy.data(), other.data(), dx.data_mut());
            dx
        };
        Ok(vec![wanted[0].then(|| times_dy(&self.b)), wanted[1].then(|| times_dy(&self.a))])
    }
}

struct Scale {
    factor: f32,
}

impl Backward for Scale {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(scaled(device, self.factor, &dy))])
    }
}

struct Sum {
    shape: Vec<usize>,
}

impl Backward for Sum {
    fn backward(self: Box<Self>, _: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(Tensor::full(&self.shape, dy.item()?))])
    }
}
