//! Batch normalisation (Ioffe & Szegedy 2015) over the last axis: of images and of vectors alike.

use super::{rows, vector};
use crate::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use kernels::cpu;

/// The statistics of a batch.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// `[C]`.
    pub mean: Tensor,
    /// `[C]`, biased: divided by the number of rows.
    pub var: Tensor,
    /// Values of each channel that they were taken over, at least two.
    pub rows: usize,
}

impl BatchStats {
    /// The variance divided by `rows − 1`: what running statistics take in.
    pub fn unbiased_var(&self) -> Tensor {
        let correction = self.rows as f32 / (self.rows - 1) as f32;
        Tensor::from_fn(self.var.shape(), |i| self.var.data()[i] * correction)
    }
}

impl Tape {
    /// `γ (x − μ) / √(σ² + eps) + β` with the statistics of the batch: `x` `[…, C]`, `gamma` and `beta` `[C]`.
    /// An error where a channel has one value alone, of which there is no variance.
    pub fn batch_norm_train(
        &mut self,
        x: &Var,
        gamma: &Var,
        beta: &Var,
        eps: f32,
    ) -> Result<(Var, BatchStats)> {
        let (rows, c) = rows(OP, x)?;
        vector(OP, "a weight", gamma.shape(), c)?;
        vector(OP, "a bias", beta.shape(), c)?;
        if rows < 2 {
            let shape = x.shape();
            return Err(Error::shape(
                OP,
                format!("training needs more than one value of each channel, found {shape:?}"),
            ));
        }
        let mut y = Tensor::empty(self.device(), x.shape());
        let (mut mean, mut var) = (Tensor::empty(self.device(), &[c]), Tensor::empty(self.device(), &[c]));
        let Device::Cpu(cpu) = self.device();
        cpu::batch_norm_forward_train(
            cpu,
            rows,
            c,
            x.value().data(),
            gamma.value().data(),
            beta.value().data(),
            eps,
            y.data_mut(),
            mean.data_mut(),
            var.data_mut(),
        );
        let op = BatchNormBackward::new(Statistics::Batch, x, gamma, &mean, &var, eps);
        Ok((self.record(&[x, gamma, beta], y, op), BatchStats { mean, var, rows }))
    }

    /// `γ (x − mean) / √(var + eps) + β` with given statistics: `x` `[…, C]`, everything else `[C]`.
    pub fn batch_norm_eval(
        &mut self,
        x: &Var,
        gamma: &Var,
        beta: &Var,
        mean: &Tensor,
        var: &Tensor,
        eps: f32,
    ) -> Result<Var> {
        let (rows, c) = rows(OP, x)?;
        let vectors = [
            ("a weight", gamma.shape()),
            ("a bias", beta.shape()),
            ("a mean", mean.shape()),
            ("a variance", var.shape()),
        ];
        vectors.into_iter().try_for_each(|(name, shape)| vector(OP, name, shape, c))?;
        let mut y = Tensor::empty(self.device(), x.shape());
        let Device::Cpu(cpu) = self.device();
        cpu::batch_norm_forward_eval(
            cpu,
            rows,
            c,
            x.value().data(),
            mean.data(),
            var.data(),
            gamma.value().data(),
            beta.value().data(),
            eps,
            y.data_mut(),
        );
        let op = BatchNormBackward::new(Statistics::Given, x, gamma, mean, var, eps);
        Ok(self.record(&[x, gamma, beta], y, op))
    }
}

const OP: &str = "batch norm";

/// Whether mean and variance depend on the input.
#[derive(Clone, Copy)]
enum Statistics {
    Batch,
    Given,
}

struct BatchNormBackward {
    statistics: Statistics,
    x: Tensor,
    gamma: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: f32,
}

impl BatchNormBackward {
    fn new(statistics: Statistics, x: &Var, gamma: &Var, mean: &Tensor, var: &Tensor, eps: f32) -> Self {
        let (x, gamma) = (x.value().clone(), gamma.value().clone());
        Self { statistics, x, gamma, mean: mean.clone(), var: var.clone(), eps }
    }
}

impl Backward for BatchNormBackward {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { statistics, x, gamma, mean, var, eps } = *self;
        let c = gamma.len();
        let mut dx = Tensor::empty(device, x.shape());
        let (mut dgamma, mut dbeta) = (Tensor::empty(device, &[c]), Tensor::empty(device, &[c]));
        let Device::Cpu(cpu) = device;
        let kernel = match statistics {
            Statistics::Batch => cpu::batch_norm_backward,
            Statistics::Given => cpu::batch_norm_eval_backward,
        };
        kernel(
            cpu,
            x.len() / c,
            c,
            x.data(),
            mean.data(),
            var.data(),
            gamma.data(),
            eps,
            dy.data(),
            dx.data_mut(),
            dgamma.data_mut(),
            dbeta.data_mut(),
        );
        Ok([dx, dgamma, dbeta].map(Some).into())
    }
}
