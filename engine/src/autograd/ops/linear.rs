//! The fully connected layer and the matrix product.

use super::masks::Mask;
use super::{matrix, sum_rows, vector};
use crate::autograd::tape::{Backward, Tape, Var};
use crate::graph::geometry::linear_geometry;
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::params::Trans;
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::{self, Matmul};
use lopper_kernels::{cpu, cuda};
use std::sync::Arc;

impl Tape {
    /// Computes `y[n, o] = bias[o] + Σ_i x[n, i] · w[o, i]`: `x` `[N, IN]`, `w` `[OUT, IN]`, `bias` `[OUT]`.
    pub fn linear(&mut self, x: &Var, w: &Var, bias: Option<&Var>) -> Result<Var> {
        self.linear_masked(x, w, bias, None)
    }

    /// Computes [`Tape::linear`] with a weight that is zero where `mask` is. A recorded run and its gradients skip dead
    /// outputs and inputs, and the gradient of a masked weight is zero, unless [`Tape::with_masked_gradients`] asks for
    /// it. A GPU computes everything, and then clears the gradients of masked weights.
    pub(crate) fn linear_masked(
        &mut self,
        x: &Var,
        w: &Var,
        bias: Option<&Var>,
        mask: Option<(&Tensor, &Arc<Pattern>)>,
    ) -> Result<Var> {
        let g = linear_geometry(x.shape(), w.shape())?;
        if let Some(bias) = bias {
            vector("linear", "a bias", bias.shape(), g.outputs)?;
        }
        let device = self.device();
        let (x_value, w_value) = (x.value().as_factor(device)?, w.value().as_factor(device)?);
        let mut y = Tensor::like(device, &x_value, &[g.n, g.outputs])?;
        match device {
            Device::Cpu(cpu) => {
                let bias = bias.map(|b| b.value().data());
                let (x, w, y) = (x_value.data(), w_value.data(), y.data_mut());
                match mask.filter(|_| self.is_recording()) {
                    Some((_, pattern)) => cpu::linear_masked_forward(cpu, &g, pattern, [x, w], bias, y),
                    None => cpu::linear_forward(cpu, &g, x, w, bias, y),
                }
            }
            Device::Cuda(gpu) => {
                let bias = bias.map(|b| b.value().on(gpu)).transpose()?;
                let epilogue = cuda::Epilogue { bias, ..Default::default() };
                cuda::linear_forward(gpu, &g, x_value.on(gpu)?, w_value.on(gpu)?, &epilogue, y.on_mut(gpu)?)?;
            }
        }
        let mask = mask.map(|(mask, pattern)| Mask::new(mask, pattern, self.has_masked_gradients()));
        let op = LinearBackward { g, x: x_value, w: w_value, mask };
        let inputs: Vec<&Var> = [x, w].into_iter().chain(bias).collect();
        Ok(self.record(&inputs, y, op))
    }

    /// Computes the matrix product of `a` `[M, K]` and `b` `[K, N]`, `[M, N]`.
    pub fn matmul(&mut self, a: &Var, b: &Var) -> Result<Var> {
        let ([m, k], [inner, n]) = (matrix("matmul", a)?, matrix("matmul", b)?);
        if inner != k {
            return Err(Error::shape(
                "matmul",
                format!("cannot multiply {:?} by {:?}", a.shape(), b.shape()),
            ));
        }
        let device = self.device();
        let (a_value, b_value) = (a.value().as_single(device)?, b.value().as_single(device)?);
        let g = Matmul::new([Trans::No, Trans::No], [m, n, k]);
        let y = product(device, &g, &a_value, &b_value)?;
        let op = MatmulBackward { g, a: a_value, b: b_value };
        Ok(self.record(&[a, b], y, op))
    }
}

struct LinearBackward {
    g: shapes::Linear,
    x: Tensor,
    w: Tensor,
    mask: Option<Mask>,
}

impl LinearBackward {
    /// The gradient of the input.
    fn input_grad(&self, device: &Device, dy: &Tensor) -> Result<Tensor> {
        let Self { g, x, w, mask } = self;
        let mut dx = Tensor::like(device, x, x.shape())?;
        match (device, mask) {
            (Device::Cpu(cpu), Some(Mask { pattern, .. })) => {
                cpu::linear_masked_input_grad(cpu, g, pattern, dy.data(), w.data(), dx.data_mut());
            }
            (Device::Cpu(cpu), None) => {
                cpu::linear_input_grad(cpu, g, dy.data(), w.data(), dx.data_mut());
            }
            (Device::Cuda(gpu), _) => {
                cuda::linear_input_grad(gpu, g, dy.on(gpu)?, w.on(gpu)?, dx.on_mut(gpu)?)?;
            }
        }
        Ok(dx)
    }

    /// The gradient of the weight, zero where the mask is unless it is wanted whole.
    fn weight_grad(&self, device: &Device, dy: &Tensor) -> Result<Tensor> {
        let Self { g, x, w, mask } = self;
        let mask = mask.as_ref().filter(|mask| !mask.whole);
        let mut dw = Tensor::empty(device, w.shape())?;
        match (device, mask) {
            (Device::Cpu(cpu), Some(Mask { pattern, .. })) => {
                cpu::linear_masked_weight_grad(cpu, g, pattern, x.data(), dy.data(), dw.data_mut());
                return Ok(dw);
            }
            (Device::Cpu(cpu), None) => {
                cpu::linear_weight_grad(cpu, g, x.data(), dy.data(), dw.data_mut());
            }
            (Device::Cuda(gpu), _) => {
                cuda::linear_weight_grad(gpu, g, x.on(gpu)?, dy.on(gpu)?, dw.on_mut(gpu)?)?;
            }
        }
        match mask {
            Some(mask) => mask.apply(device, &dw),
            None => Ok(dw),
        }
    }
}

impl Backward for LinearBackward {
    fn backward(
        self: Box<Self>,
        device: &Device,
        dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let dy = dy.as_stored(device, &self.x)?;
        let mut shares = vec![None; wanted.len()];
        if wanted[0] {
            shares[0] = Some(self.input_grad(device, &dy)?);
        }
        if wanted[1] {
            shares[1] = Some(self.weight_grad(device, &dy)?);
        }
        if wanted.get(2) == Some(&true) {
            shares[2] = Some(sum_rows(device, &dy, self.g.outputs)?);
        }
        Ok(shares)
    }
}

struct MatmulBackward {
    g: Matmul,
    a: Tensor,
    b: Tensor,
}

impl Backward for MatmulBackward {
    fn backward(
        self: Box<Self>,
        device: &Device,
        dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Self { g: Matmul { m, n, k, .. }, a, b } = *self;
        let dy = dy.as_single(device)?;
        // dA = dY·Bᵀ, dB = Aᵀ·dY.
        let da =
            wanted[0].then(|| product(device, &Matmul::new([Trans::No, Trans::Yes], [m, k, n]), &dy, &b));
        let db =
            wanted[1].then(|| product(device, &Matmul::new([Trans::Yes, Trans::No], [k, n, m]), &a, &dy));
        Ok(vec![da.transpose()?, db.transpose()?])
    }
}

/// Computes `op(a) · op(b)`, `[m, n]`, with `k` terms per sum.
fn product(device: &Device, g: &Matmul, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mut y = Tensor::empty(device, &[g.m, g.n])?;
    match device {
        Device::Cpu(cpu) => cpu::gemm(cpu, g, a.data(), b.data(), false, y.data_mut()),
        Device::Cuda(gpu) => cuda::gemm(gpu, g, a.on(gpu)?, b.on(gpu)?, false, y.on_mut(gpu)?)?,
    }
    Ok(y)
}
