//! The rectifier with a learned slope for each channel (He et al. 2015).

use super::{rows, vector};
use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Result, Tensor};
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes `x` where it is positive, otherwise `slope · x`, for `x` `[…, C]` and `slope` `[C]`.
    pub fn prelu(&mut self, x: &Var, slope: &Var) -> Result<Var> {
        let (_, c) = rows("prelu", x)?;
        vector("prelu", "a weight", slope.shape(), c)?;
        let mut y = Tensor::like(self.device(), x.value(), x.shape())?;
        match self.device() {
            Device::Cpu(cpu) => {
                cpu::prelu_forward(cpu, c, x.value().data(), slope.value().data(), y.data_mut());
            }
            Device::Cuda(gpu) => {
                let (x, slope) = (x.value().on(gpu)?, slope.value().on(gpu)?);
                cuda::prelu_forward(gpu, c, x, slope, y.on_mut(gpu)?)?;
            }
        }
        let op = PReluBackward { x: x.value().clone(), slope: slope.value().clone() };
        Ok(self.record(&[x, slope], y, op))
    }
}

struct PReluBackward {
    x: Tensor,
    slope: Tensor,
}

impl Backward for PReluBackward {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { x, slope } = *self;
        let (dy, c) = (dy.as_stored(device, &x)?, slope.len());
        let (mut dx, mut dslope) = (Tensor::like(device, &x, x.shape())?, Tensor::empty(device, &[c])?);
        match device {
            Device::Cpu(cpu) => {
                let (dx, dslope) = (dx.data_mut(), dslope.data_mut());
                cpu::prelu_backward(cpu, c, x.data(), slope.data(), dy.data(), dx, dslope);
            }
            Device::Cuda(gpu) => {
                let (x, slope, dy) = (x.on(gpu)?, slope.on(gpu)?, dy.on(gpu)?);
                cuda::prelu_backward(gpu, c, x, slope, dy, dx.on_mut(gpu)?, dslope.on_mut(gpu)?)?;
            }
        }
        Ok(vec![Some(dx), Some(dslope)])
    }
}
