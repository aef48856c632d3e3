//! Resizing of images.

use crate::autograd::tape::{Backward, Tape, Var};
use crate::graph::geometry::dilate_geometry;
use crate::graph::resize::Resize;
use crate::{Device, Result, Tensor};
use lopper_kernels::cpu::{self, PackedResize};
use lopper_kernels::cuda;
use lopper_kernels::shapes;

impl Tape {
    /// Resizes the pixels of `x` `[N, H, W, C]`.
    pub fn resize(&mut self, x: &Var, resize: &Resize) -> Result<Var> {
        self.resampled(x, resize.geometry(x.shape())?)
    }

    /// Puts zeros between the pixels of `x` `[N, H, W, C]`.
    pub fn dilate(&mut self, x: &Var, stride: [usize; 2]) -> Result<Var> {
        self.resampled(x, dilate_geometry(x.shape(), stride)?)
    }

    fn resampled(&mut self, x: &Var, g: shapes::Resize) -> Result<Var> {
        let mut y = Tensor::like(self.device(), x.value(), &g.y_shape())?;
        match self.device() {
            Device::Cpu(cpu) => {
                cpu::resize_forward(cpu, &PackedResize::new(&g), x.value().data(), y.data_mut());
            }
            Device::Cuda(gpu) => cuda::resize_forward(gpu, &g, x.value().on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(self.record(&[x], y, Resampled { g }))
    }
}

struct Resampled {
    g: shapes::Resize,
}

impl Backward for Resampled {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let g = self.g;
        let mut dx = Tensor::like(device, &dy, &[g.n, g.h, g.w, g.c])?;
        match device {
            Device::Cpu(cpu) => {
                cpu::resize_input_grad(cpu, &PackedResize::new(&g), dy.data(), dx.data_mut());
            }
            Device::Cuda(gpu) => cuda::resize_input_grad(gpu, &g, dy.on(gpu)?, dx.on_mut(gpu)?)?,
        }
        Ok(vec![Some(dx)])
    }
}
