//! Gathering of channels.

use super::rows;
use crate::autograd::tape::{Backward, Tape, Var};
use crate::graph::geometry::gathered;
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::cpu::{self, PackedGather};
use lopper_kernels::cuda::{self, GatherList};

impl Tape {
    /// Gathers `channels` along the last axis of `x`: element i of a row of the result is element `channels[i]`.
    pub fn gather(&mut self, x: &Var, channels: &[u32]) -> Result<Var> {
        let (_, width) = rows("gather", x)?;
        let shape = gathered(x.shape(), channels)?;
        if channels.is_empty() {
            return Err(Error::shape("gather", "expected a channel, found none"));
        }
        let gather = PackedGather::new(width, channels);
        let mut y = Tensor::like(self.device(), x.value(), &shape)?;
        match self.device() {
            Device::Cpu(cpu) => cpu::gather_forward(cpu, &gather, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => {
                let list = GatherList::new(gpu, width, channels, x.value().on(gpu)?.dtype())?;
                cuda::gather_forward(gpu, &list, x.value().on(gpu)?, y.on_mut(gpu)?)?;
            }
        }
        Ok(self.record(&[x], y, Gather { gather, shape: x.shape().to_vec() }))
    }
}

struct Gather {
    gather: PackedGather,
    /// Shape of the input.
    shape: Vec<usize>,
}

impl Backward for Gather {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { gather, shape } = *self;
        let mut dx = Tensor::like(device, &dy, &shape)?;
        match device {
            Device::Cpu(cpu) => cpu::gather_input_grad(cpu, &gather, dy.data(), dx.data_mut()),
            Device::Cuda(gpu) => {
                let dy = dy.on(gpu)?;
                let list = GatherList::new(gpu, gather.width(), gather.channels(), dy.dtype())?;
                cuda::gather_input_grad(gpu, &list, dy, dx.on_mut(gpu)?)?;
            }
        }
        Ok(vec![Some(dx)])
    }
}
