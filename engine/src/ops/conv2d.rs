//! Convolution, and the compact convolution that inference alone knows.

use super::vector;
use crate::layer::CompactConv2d;
use crate::shape::conv2d_geometry;
use crate::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use kernels::cpu;
use kernels::shapes::Conv2d;

impl Tape {
    /// The convolution of `x` `[N, H, W, C]` with `w` `[O, KH, KW, C / groups]`, plus `bias` `[O]`:
    /// see [`kernels::shapes::Conv2d`]. Pairs are `[height, width]`.
    pub fn conv2d(
        &mut self,
        x: &Var,
        w: &Var,
        bias: Option<&Var>,
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
        groups: usize,
    ) -> Result<Var> {
        let g = conv2d_geometry(x.shape(), w.shape(), stride, padding, dilation, groups)?;
        if let Some(bias) = bias {
            vector("conv2d", "a bias", bias.shape(), g.o)?;
        }
        let mut y = Tensor::empty(self.device(), &g.y_shape());
        let b = bias.map(|b| b.value().data());
        let Device::Cpu(cpu) = self.device();
        cpu::conv2d_forward(cpu, &g, x.value().data(), w.value().data(), b, y.data_mut());
        let op = ConvBackward { g, x: x.value().clone(), w: w.value().clone() };
        let inputs: Vec<&Var> = [x, w].into_iter().chain(bias).collect();
        Ok(self.record(&inputs, y, op))
    }

    /// A convolution over the live channels of `x` `[N, H, W, C]`. For inference: an error where a gradient
    /// would have to flow back through it.
    pub fn conv2d_compact(&mut self, x: &Var, layer: &CompactConv2d) -> Result<Var> {
        let g = layer.geometry(x.shape())?;
        if self.wants_gradient(x) || (self.is_recording() && layer.conv.weight.trainable) {
            return Err(Error::invalid(
                "compact convolutions are for inference and have no gradient: train first, compact last",
            ));
        }
        let bias = layer.outer_bias();
        let epilogue = cpu::Epilogue { bias: bias.as_ref().map(Tensor::data), ..Default::default() };
        let mut y = Tensor::empty(self.device(), &g.y_shape());
        let Device::Cpu(cpu) = self.device();
        let w =
            cpu::PackedCompact::new(cpu, &g, &layer.index(), layer.conv.weight.value().data(), &layer.fill);
        cpu::conv2d_compact_forward(cpu, &g, x.value().data(), &w, &epilogue, y.data_mut());
        Ok(self.constant(y))
    }
}

struct ConvBackward {
    g: Conv2d,
    x: Tensor,
    w: Tensor,
}

impl Backward for ConvBackward {
    fn backward(
        self: Box<Self>,
        device: &Device,
        dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Self { g, x, w } = *self;
        let Device::Cpu(cpu) = device;
        let dw = wanted[1].then(|| {
            let mut dw = Tensor::empty(device, &g.w_shape());
            cpu::conv2d_weight_grad(cpu, &g, x.data(), dy.data(), dw.data_mut());
            dw
        });
        // Freed before the gradient of as many elements is made.
        drop(x);
        let dx = wanted[0].then(|| {
            let mut dx = Tensor::empty(device, &g.x_shape());
            cpu::conv2d_input_grad(cpu, &g, dy.data(), w.data(), dx.data_mut());
            dx
        });
        let bias = wanted.get(2).map(|&wanted| {
            wanted.then(|| {
                let mut db = Tensor::empty(device, &[g.o]);
                cpu::sum_rows(cpu, g.y_len() / g.o, g.o, dy.data(), db.data_mut());
                db
            })
        });
        Ok([dx, dw].into_iter().chain(bias).collect())
    }
}
