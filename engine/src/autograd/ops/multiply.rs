//! Products of two values, of which the second may be a gate: one factor for each channel of each image.

use crate::autograd::tape::{Backward, Tape, Var};
use crate::graph::geometry::gate_geometry;
use crate::{Device, Result, Tensor};
use lopper_kernels::shapes::Gate;
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes `x · gate` for equal shapes, or for images `x` `[N, H, W, C]` and a gate `[N, 1, 1, C]` or `[N, C]`.
    pub fn multiply(&mut self, x: &Var, gate: &Var) -> Result<Var> {
        if x.shape() == gate.shape() {
            return self.mul(x, gate);
        }
        let g = gate_geometry(x.shape(), gate.shape())?;
        let factors = gate.value().as_stored(self.device(), x.value())?;
        let y = gated(self.device(), &g, x.value(), &factors)?;
        let op = Multiply { g, x: x.value().clone(), gate: factors };
        Ok(self.record(&[x, gate], y, op))
    }
}

/// `x · gate`.
fn gated(device: &Device, g: &Gate, x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let mut y = Tensor::like(device, x, x.shape())?;
    match device {
        Device::Cpu(cpu) => cpu::gate_forward(cpu, g, x.data(), gate.data(), y.data_mut()),
        Device::Cuda(gpu) => cuda::gate_forward(gpu, g, x.on(gpu)?, gate.on(gpu)?, y.on_mut(gpu)?)?,
    }
    Ok(y)
}

struct Multiply {
    g: Gate,
    x: Tensor,
    gate: Tensor,
}

impl Backward for Multiply {
    fn backward(
        self: Box<Self>,
        device: &Device,
        dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Self { g, x, gate } = *self;
        let dy = dy.as_stored(device, &x)?;
        let dx = wanted[0].then(|| gated(device, &g, &dy, &gate)).transpose()?;
        if !wanted[1] {
            return Ok(vec![dx, None]);
        }
        let mut dgate = Tensor::like(device, &gate, gate.shape())?;
        match device {
            Device::Cpu(cpu) => cpu::gate_grad(cpu, &g, x.data(), dy.data(), dgate.data_mut()),
            Device::Cuda(gpu) => cuda::gate_grad(gpu, &g, x.on(gpu)?, dy.on(gpu)?, dgate.on_mut(gpu)?)?,
        }
        Ok(vec![dx, Some(dgate)])
    }
}
