//! Dropout (Srivastava et al. 2014), scaled during training so that evaluation is the identity.

use crate::autograd::tape::{Backward, Mode, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// During training, zeroes each element with probability `p`, in `[0, 1)`, and multiplies the rest by
    /// `1/(1 − p)`; otherwise returns `x` itself. The tape's seed and the number of dropouts before this one determine
    /// which elements are dropped.
    pub fn dropout(&mut self, x: &Var, p: f32, mode: Mode) -> Result<Var> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::invalid(format!("dropout: expected a probability in [0, 1), found {p}")));
        }
        if mode == Mode::Eval || p == 0.0 {
            return Ok(x.clone());
        }
        let op = Dropout { p, seed: self.next_dropout_seed() };
        let y = op.apply(self.device(), x.value())?;
        Ok(self.record(&[x], y, op))
    }
}

struct Dropout {
    p: f32,
    seed: u64,
}

impl Dropout {
    fn apply(&self, device: &Device, x: &Tensor) -> Result<Tensor> {
        let mut y = Tensor::like(device, x, x.shape())?;
        match device {
            Device::Cpu(cpu) => cpu::dropout(cpu, self.p, self.seed, x.data(), y.data_mut()),
            Device::Cuda(gpu) => cuda::dropout(gpu, self.p, self.seed, x.on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(y)
    }
}

impl Backward for Dropout {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        // The same elements are dropped again, because they depend only on the seed.
        Ok(vec![Some(self.apply(device, &dy)?)])
    }
}
