//! The fully connected layer and the matrix product.

use super::{matrix, vector};
use crate::shape::linear_geometry;
use crate::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use kernels::cpu;
use kernels::params::Trans;
use kernels::shapes;

impl Tape {
    /// `y[n, o] = bias[o] + Σ_i x[n, i] · w[o, i]`: `x` `[N, IN]`, `w` `[OUT, IN]`, `bias` `[OUT]`.
    pub fn linear(&mut self, x: &Var, w: &Var, bias: Option<&Var>) -> Result<Var> {
        let g = linear_geometry(x.shape(), w.shape())?;
        if let Some(bias) = bias {
            vector("linear", "a bias", bias.shape(), g.outputs)?;
        }
        let mut y = Tensor::empty(self.device(), &[g.n, g.outputs]);
        let b = bias.map(|b| b.value().data());
        let Device::Cpu(cpu) = self.device();
        cpu::linear_forward(cpu, &g, x.value().data(), w.value().data(), b, y.data_mut());
        let op = LinearBackward { g, x: x.value().clone(), w: w.value().clone() };
        let inputs: Vec<&Var> = [x, w].into_iter().chain(bias).collect();
        Ok(self.record(&inputs, y, op))
    }

    /// The matrix product of `a` `[M, K]` and `b` `[K, N]`, `[M, N]`.
    pub fn matmul(&mut self, a: &Var, b: &Var) -> Result<Var> {
        let ([m, k], [inner, n]) = (matrix("matmul", a)?, matrix("matmul", b)?);
        if inner != k {
            return Err(Error::shape("matmul", format!("{:?} does not multiply {:?}", a.shape(), b.shape())));
        }
        let mut y = Tensor::empty(self.device(), &[m, n]);
        let Device::Cpu(cpu) = self.device();
        let (a_data, b_data) = (a.value().data(), b.value().data());
        cpu::gemm(cpu, Trans::No, Trans::No, m, n, k, a_data, b_data, false, y.data_mut());
        let op = MatmulBackward { m, n, k, a: a.value().clone(), b: b.value().clone() };
        Ok(self.record(&[a, b], y, op))
    }
}

struct LinearBackward {
    g: shapes::Linear,
    x: Tensor,
    w: Tensor,
}

impl Backward for LinearBackward {
    fn backward(
        self: Box<Self>,
        device: &Device,
        dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Self { g, x, w } = *self;
        let Device::Cpu(cpu) = device;
        let dx = wanted[0].then(|| {
            let mut dx = Tensor::empty(device, x.shape());
            cpu::linear_input_grad(cpu, &g, dy.data(), w.data(), dx.data_mut());
            dx
        });
        let dw = wanted[1].then(|| {
            let mut dw = Tensor::empty(device, w.shape());
            cpu::linear_weight_grad(cpu, &g, x.data(), dy.data(), dw.data_mut());
            dw
        });
        let bias = wanted.get(2).map(|&wanted| {
            wanted.then(|| {
                let mut db = Tensor::empty(device, &[g.outputs]);
                cpu::sum_rows(cpu, g.n, g.outputs, dy.data(), db.data_mut());
                db
            })
        });
        Ok([dx, dw].into_iter().chain(bias).collect())
    }
}

struct MatmulBackward {
    m: usize,
    n: usize,
    k: usize,
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
        let Self { m, n, k, a, b } = *self;
        let Device::Cpu(cpu) = device;
        // dA = dY·Bᵀ, dB = Aᵀ·dY.
        let da = wanted[0].then(|| {
            let mut da = Tensor::empty(device, &[m, k]);
            cpu::gemm(cpu, Trans::No, Trans::Yes, m, k, n, dy.data(), b.data(), false, da.data_mut());
            da
        });
        let db = wanted[1].then(|| {
            let mut db = Tensor::empty(device, &[k, n]);
            cpu::gemm(cpu, Trans::Yes, Trans::No, k, n, m, a.data(), dy.data(), false, db.data_mut());
            db
        });
        Ok(vec![da, db])
    }
}
