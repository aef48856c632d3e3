//! Concatenation along the last axis and the parameter-free residual shortcut.

use super::rows;
use crate::autograd::tape::{Backward, Tape, Var};
use crate::graph::geometry::shortcut_geometry;
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::shapes;
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Concatenates the parts along the last axis, which must not be empty; all other axes must be equal.
    pub fn concat(&mut self, parts: &[&Var]) -> Result<Var> {
        let &first = parts.first().ok_or_else(|| Error::shape("concat", "expected at least one part"))?;
        let (count, _) = rows("concat", first)?;
        let outer = &first.shape()[..first.shape().len() - 1];
        if let Some(other) = parts.iter().find(|p| p.shape().split_last().map(|(_, o)| o) != Some(outer)) {
            return Err(Error::shape(
                "concat",
                format!("{:?} and {:?} differ before the last axis", first.shape(), other.shape()),
            ));
        }
        let widths: Vec<usize> = parts.iter().map(|p| Ok(rows("concat", p)?.1)).collect::<Result<_>>()?;
        let shape = [outer, &[widths.iter().sum()]].concat();
        let device = self.device();
        let values = parts.iter().map(|p| p.value().as_stored(device, first.value()));
        let values: Vec<Tensor> = values.collect::<Result<_>>()?;
        let mut y = Tensor::like(device, first.value(), &shape)?;
        match device {
            Device::Cpu(cpu) => {
                let slices: Vec<_> = values.iter().map(Tensor::data).zip(widths.iter().copied()).collect();
                cpu::concat_forward(cpu, count, &slices, y.data_mut());
            }
            Device::Cuda(gpu) => {
                let buffers = values.iter().zip(&widths).map(|(v, &c)| Ok((v.on(gpu)?, c)));
                cuda::concat_forward(gpu, count, &buffers.collect::<Result<Vec<_>>>()?, y.on_mut(gpu)?)?;
            }
        }
        Ok(self.record(parts, y, Concat { rows: count, widths, outer: outer.to_vec() }))
    }

    /// Computes the parameter-free residual shortcut: see [`shapes::PadShortcut`]. `x` is `[N, H, W, C]`.
    pub fn pad_shortcut(&mut self, x: &Var, stride: usize, before: usize, after: usize) -> Result<Var> {
        let g = shortcut_geometry(x.shape(), stride, before, after)?;
        let mut y = Tensor::like(self.device(), x.value(), &g.y_shape())?;
        match self.device() {
            Device::Cpu(cpu) => cpu::pad_shortcut_forward(cpu, &g, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::pad_shortcut_forward(gpu, &g, x.value().on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[x], y, PadShortcut { g }))
    }
}

struct Concat {
    rows: usize,
    widths: Vec<usize>,
    outer: Vec<usize>,
}

impl Backward for Concat {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { rows, widths, outer } = *self;
        let part = |&c: &usize| Tensor::like(device, &dy, &[outer.as_slice(), &[c]].concat());
        let mut parts: Vec<Tensor> = widths.iter().map(part).collect::<Result<_>>()?;
        match device {
            Device::Cpu(cpu) => {
                let mut slices: Vec<_> = parts.iter_mut().map(Tensor::data_mut).zip(widths).collect();
                cpu::split_channels(cpu, rows, dy.data(), &mut slices);
            }
            Device::Cuda(gpu) => {
                let buffers = parts.iter_mut().zip(widths).map(|(part, c)| Ok((part.on_mut(gpu)?, c)));
                let mut buffers = buffers.collect::<Result<Vec<_>>>()?;
                cuda::split_channels(gpu, rows, dy.on(gpu)?, &mut buffers)?;
            }
        }
        Ok(parts.into_iter().map(Some).collect())
    }
}

struct PadShortcut {
    g: shapes::PadShortcut,
}

impl Backward for PadShortcut {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::like(device, &dy, &[self.g.n, self.g.h, self.g.w, self.g.c])?;
        match device {
            Device::Cpu(cpu) => cpu::pad_shortcut_input_grad(cpu, &self.g, dy.data(), dx.data_mut()),
            Device::Cuda(gpu) => cuda::pad_shortcut_input_grad(gpu, &self.g, dy.on(gpu)?, dx.on_mut(gpu)?)?,
        }
        Ok(vec![Some(dx)])
    }
}
