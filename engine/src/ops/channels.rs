//! Concatenation along the last axis and the residual shortcut without parameters.

use super::rows;
use crate::shape::shortcut_geometry;
use crate::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use kernels::cpu;
use kernels::shapes;

impl Tape {
    /// The parts side by side along the last axis, of which each has some; every other axis is the same.
    pub fn concat(&mut self, parts: &[&Var]) -> Result<Var> {
        let &first = parts.first().ok_or_else(|| Error::shape("concat", "of no parts"))?;
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
        let mut y = Tensor::empty(self.device(), &shape);
        let slices: Vec<(&[f32], usize)> =
            parts.iter().zip(&widths).map(|(p, &c)| (p.value().data(), c)).collect();
        let Device::Cpu(cpu) = self.device();
        cpu::concat_forward(cpu, count, &slices, y.data_mut());
        Ok(self.record(parts, y, Concat { rows: count, widths, outer: outer.to_vec() }))
    }

    /// The residual shortcut without parameters: see [`shapes::PadShortcut`]. `x` is `[N, H, W, C]`.
    pub fn pad_shortcut(&mut self, x: &Var, stride: usize, before: usize, after: usize) -> Result<Var> {
        let g = shortcut_geometry(x.shape(), stride, before, after)?;
        let mut y = Tensor::empty(self.device(), &g.y_shape());
        let Device::Cpu(cpu) = self.device();
        cpu::pad_shortcut_forward(cpu, &g, x.value().data(), y.data_mut());
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
        let mut parts: Vec<Tensor> =
            widths.iter().map(|&c| Tensor::empty(device, &[outer.as_slice(), &[c]].concat())).collect();
        let mut slices: Vec<(&mut [f32], usize)> =
            parts.iter_mut().map(Tensor::data_mut).zip(widths).collect();
        let Device::Cpu(cpu) = device;
        cpu::split_channels(cpu, rows, dy.data(), &mut slices);
        Ok(parts.into_iter().map(Some).collect())
    }
}

struct PadShortcut {
    g: shapes::PadShortcut,
}

impl Backward for PadShortcut {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::empty(device, &[self.g.n, self.g.h, self.g.w, self.g.c]);
        let Device::Cpu(cpu) = device;
        cpu::pad_shortcut_input_grad(cpu, &self.g, dy.data(), dx.data_mut());
        Ok(vec![Some(dx)])
    }
}
