//! Sums, differences, products and reductions of tensors of equal shape.

use super::{same_shape, sum_rows};
use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes `a + b` for equal shapes.
    pub fn add(&mut self, a: &Var, b: &Var) -> Result<Var> {
        same_shape("add", a.shape(), b.shape())?;
        let (a_value, b_value) = (a.value(), b.value().as_stored(self.device(), a.value())?);
        let mut y = Tensor::like(self.device(), a_value, a.shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::add_forward(cpu, a_value.data(), b_value.data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::add_forward(gpu, a_value.on(gpu)?, b_value.on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[a, b], y, Add))
    }

    /// Computes `a − b` for equal shapes.
    pub fn sub(&mut self, a: &Var, b: &Var) -> Result<Var> {
        same_shape("sub", a.shape(), b.shape())?;
        let b_value = b.value().as_stored(self.device(), a.value())?;
        let mut y = a.value().clone();
        match self.device() {
            Device::Cpu(cpu) => cpu::axpy(cpu, -1.0, b_value.data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::axpy(gpu, -1.0, b_value.on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[a, b], y, Sub))
    }

    /// Computes the elementwise product `a · b` for equal shapes.
    pub fn mul(&mut self, a: &Var, b: &Var) -> Result<Var> {
        same_shape("mul", a.shape(), b.shape())?;
        let op = Mul { a: a.value().clone(), b: b.value().as_stored(self.device(), a.value())? };
        let y = product(self.device(), &op.a, &op.b)?;
        Ok(self.record(&[a, b], y, op))
    }

    /// Computes `factor · x`.
    pub fn scale(&mut self, x: &Var, factor: f32) -> Result<Var> {
        let y = scaled(self.device(), factor, x.value())?;
        Ok(self.record(&[x], y, Scale { factor }))
    }

    /// Computes the sum of all elements, of shape `[]`.
    pub fn sum(&mut self, x: &Var) -> Result<Var> {
        let y = sum_rows(self.device(), x.value(), 1)?.reshape(&[])?;
        Ok(self.record(&[x], y, Sum { shape: x.shape().to_vec() }))
    }

    /// Computes the mean of all elements, of shape `[]`. Returns an error if there are none.
    pub fn mean(&mut self, x: &Var) -> Result<Var> {
        if x.value().is_empty() {
            return Err(Error::shape("mean", "expected at least one element, found none"));
        }
        // Divide first: the sum can overflow even if the mean is finite.
        let shares = self.scale(x, 1.0 / x.value().len() as f32)?;
        self.sum(&shares)
    }
}

fn scaled(device: &Device, factor: f32, x: &Tensor) -> Result<Tensor> {
    let mut y = Tensor::like(device, x, x.shape())?;
    match device {
        Device::Cpu(cpu) => cpu::scale(cpu, factor, x.data(), y.data_mut()),
        Device::Cuda(gpu) => cuda::scale(gpu, factor, x.on(gpu)?, y.on_mut(gpu)?)?,
    }
    Ok(y)
}

/// The product of two tensors of one shape, element by element.
pub(super) fn product(device: &Device, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mut y = Tensor::like(device, a, a.shape())?;
    match device {
        Device::Cpu(cpu) => cpu::mul_forward(cpu, a.data(), b.data(), y.data_mut()),
        Device::Cuda(gpu) => cuda::mul_forward(gpu, a.on(gpu)?, b.on(gpu)?, y.on_mut(gpu)?)?,
    }
    Ok(y)
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
        let db = wanted[1].then(|| scaled(device, -1.0, &dy)).transpose()?;
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
        let dy = dy.as_stored(device, &self.a)?;
        let da = wanted[0].then(|| product(device, &dy, &self.b)).transpose()?;
        let db = wanted[1].then(|| product(device, &dy, &self.a)).transpose()?;
        Ok(vec![da, db])
    }
}

struct Scale {
    factor: f32,
}

impl Backward for Scale {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(scaled(device, self.factor, &dy)?)])
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
