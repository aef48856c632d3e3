//! Convolution, and the inference-only compact convolution.

use super::masks::Mask;
use super::{sum_rows, vector};
use crate::autograd::tape::{Backward, Tape, Var};
use crate::graph::geometry::{Conv2dOptions, conv2d_geometry};
use crate::graph::layer::CompactConv2d;
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::cpu::{Packing, Weights};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::Conv2d;
use lopper_kernels::{cpu, cuda};
use std::sync::Arc;

impl Tape {
    /// Computes the convolution of `x` `[N, H, W, C]` with `w` `[O, KH, KW, C / groups]`, plus `bias` `[O]`:
    /// see [`lopper_kernels::shapes::Conv2d`].
    pub fn conv2d(&mut self, x: &Var, w: &Var, bias: Option<&Var>, options: Conv2dOptions) -> Result<Var> {
        self.conv2d_masked(x, w, bias, options, None)
    }

    /// Computes [`Tape::conv2d`] with a weight that is zero where `mask` is. A recorded run and its gradients skip dead
    /// filters and dead input channels, and the gradient of a masked weight is zero, unless
    /// [`Tape::with_masked_gradients`] asks for it. A GPU computes everything, and then clears the gradients of masked
    /// weights.
    pub(crate) fn conv2d_masked(
        &mut self,
        x: &Var,
        w: &Var,
        bias: Option<&Var>,
        options: Conv2dOptions,
        mask: Option<(&Tensor, &Arc<Pattern>)>,
    ) -> Result<Var> {
        let g = conv2d_geometry(x.shape(), w.shape(), options)?;
        if let Some(bias) = bias {
            vector("conv2d", "a bias", bias.shape(), g.o)?;
        }
        let device = self.device();
        let (x_value, w_value) = (x.value().as_factor(device)?, w.value().as_factor(device)?);
        let mut y = Tensor::like(device, &x_value, &g.y_shape())?;
        match device {
            Device::Cpu(cpu) => {
                let bias = bias.map(|b| b.value().data());
                let (x, w, y) = (x_value.data(), w_value.data(), y.data_mut());
                match mask.filter(|_| self.is_recording()) {
                    Some((_, pattern)) => cpu::conv2d_masked_forward(cpu, &g, pattern, [x, w], bias, y),
                    None => cpu::conv2d_forward(cpu, &g, x, w, bias, y),
                }
            }
            Device::Cuda(gpu) => {
                let bias = bias.map(|b| b.value().on(gpu)).transpose()?;
                let epilogue = cuda::Epilogue { bias, ..Default::default() };
                cuda::conv2d_forward(gpu, &g, x_value.on(gpu)?, w_value.on(gpu)?, &epilogue, y.on_mut(gpu)?)?;
            }
        }
        let mask = mask.map(|(mask, pattern)| Mask::new(mask, pattern, self.has_masked_gradients()));
        let op = ConvBackward { g, x: x_value, w: w_value, mask };
        let inputs: Vec<&Var> = [x, w].into_iter().chain(bias).collect();
        Ok(self.record(&inputs, y, op))
    }

    /// Computes a convolution over the live channels of `x` `[N, H, W, C]`. For inference only: returns an error if a
    /// gradient would have to flow back through it.
    pub fn conv2d_compact(&mut self, x: &Var, layer: &CompactConv2d) -> Result<Var> {
        let g = layer.geometry(x.shape())?;
        if self.wants_gradient(x) || (self.is_recording() && layer.conv.weight.trainable) {
            return Err(Error::invalid(
                "compact convolutions are for inference and have no gradient: train first, compact last",
            ));
        }
        let bias = layer.outer_bias();
        let weight = layer.conv.weight.value().data();
        let device = self.device();
        let x = x.value().as_factor(device)?;
        let mut y = Tensor::like(device, &x, &g.y_shape())?;
        match device {
            Device::Cpu(cpu) => {
                let packing = Packing::Fastest(Weights::Memory);
                let w = cpu::PackedConv2d::compact(cpu, &g, &layer.index(), weight, &layer.fill, packing);
                let epilogue = cpu::Epilogue { bias: bias.as_ref().map(Tensor::data), ..Default::default() };
                cpu::conv2d_forward_packed(cpu, &g, x.data(), &w, &epilogue, y.data_mut());
            }
            Device::Cuda(gpu) => {
                let w = cuda::PackedConv2d::compact(gpu, &g, &layer.index(), weight, &layer.fill)?;
                let bias = bias.as_ref().map(|b| b.on(gpu)).transpose()?;
                let epilogue = cuda::Epilogue { bias, ..Default::default() };
                cuda::conv2d_forward_packed(gpu, &g, x.on(gpu)?, &w, &epilogue, y.on_mut(gpu)?)?;
            }
        }
        Ok(self.constant(y))
    }
}

struct ConvBackward {
    g: Conv2d,
    x: Tensor,
    w: Tensor,
    mask: Option<Mask>,
}

impl ConvBackward {
    /// The gradient of the weight, zero where the mask is unless it is wanted whole.
    fn weight_grad(&self, device: &Device, dy: &Tensor) -> Result<Tensor> {
        let Self { g, x, mask, .. } = self;
        let mask = mask.as_ref().filter(|mask| !mask.whole);
        let mut dw = Tensor::empty(device, &g.w_shape())?;
        match (device, mask) {
            (Device::Cpu(cpu), Some(Mask { pattern, .. })) => {
                cpu::conv2d_masked_weight_grad(cpu, g, pattern, x.data(), dy.data(), dw.data_mut());
                return Ok(dw);
            }
            (Device::Cpu(cpu), None) => cpu::conv2d_weight_grad(cpu, g, x.data(), dy.data(), dw.data_mut()),
            (Device::Cuda(gpu), _) => {
                cuda::conv2d_weight_grad(gpu, g, x.on(gpu)?, dy.on(gpu)?, dw.on_mut(gpu)?)?;
            }
        }
        match mask {
            Some(mask) => mask.apply(device, &dw),
            None => Ok(dw),
        }
    }
}

impl Backward for ConvBackward {
    fn backward(
        self: Box<Self>,
        device: &Device,
        dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let dy = dy.as_stored(device, &self.x)?;
        let mut shares = vec![None; wanted.len()];
        if wanted[1] {
            shares[1] = Some(self.weight_grad(device, &dy)?);
        }
        let Self { g, x, w, mask } = *self;
        // Free x before allocating its equally large gradient.
        drop(x);
        if wanted[0] {
            let mut dx = Tensor::like(device, &dy, &g.x_shape())?;
            match (device, &mask) {
                (Device::Cpu(cpu), Some(Mask { pattern, .. })) => {
                    cpu::conv2d_masked_input_grad(cpu, &g, pattern, dy.data(), w.data(), dx.data_mut());
                }
                (Device::Cpu(cpu), None) => {
                    cpu::conv2d_input_grad(cpu, &g, dy.data(), w.data(), dx.data_mut());
                }
                (Device::Cuda(gpu), _) => {
                    cuda::conv2d_input_grad(gpu, &g, dy.on(gpu)?, w.on(gpu)?, dx.on_mut(gpu)?)?;
                }
            }
            shares[0] = Some(dx);
        }
        if wanted.get(2) == Some(&true) {
            shares[2] = Some(sum_rows(device, &dy, g.o)?);
        }
        Ok(shares)
    }
}
