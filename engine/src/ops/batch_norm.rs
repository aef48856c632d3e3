//! Batch normalisation (Ioffe & Szegedy 2015) over the last axis: of images and of vectors alike.

use super::{rows, same_shape, vector};
use crate::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use kernels::cpu::{self, Statistics};
use kernels::params::Activation;

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

/// What follows a batch norm in the same pass over memory: `activation(y + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tail<'a> {
    /// Of the shape of the batch norm's output.
    pub residual: Option<&'a Var>,
    /// Applied last.
    pub activation: Activation,
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
        self.batch_norm_train_then(x, gamma, beta, eps, Tail::default())
    }

    /// [`Tape::batch_norm_train`] and what follows it: the same bits as one after the other.
    pub fn batch_norm_train_then(
        &mut self,
        x: &Var,
        gamma: &Var,
        beta: &Var,
        eps: f32,
        tail: Tail,
    ) -> Result<(Var, BatchStats)> {
        let (rows, c) = checked(x, [("a weight", gamma.shape()), ("a bias", beta.shape())], tail)?;
        if rows < 2 {
            let shape = x.shape();
            return Err(Error::shape(
                OP,
                format!("training needs more than one value of each channel, found {shape:?}"),
            ));
        }
        let mut y = Tensor::empty(self.device(), x.shape());
        let (mut mean, mut var) = (Tensor::zeros(&[c]), Tensor::zeros(&[c]));
        let Device::Cpu(cpu) = self.device();
        cpu::batch_norm_forward_train(
            cpu,
            rows,
            c,
            x.value().data(),
            gamma.value().data(),
            beta.value().data(),
            eps,
            tail.residual.map(|r| r.value().data()),
            tail.activation,
            y.data_mut(),
            mean.data_mut(),
            var.data_mut(),
        );
        let stats = BatchStats { mean, var, rows };
        let (mean, var) = (stats.mean.clone(), stats.var.clone());
        Ok((self.record_batch_norm(Statistics::Batch, [x, gamma, beta], mean, var, eps, tail, y), stats))
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
        self.batch_norm_eval_then(x, gamma, beta, mean, var, eps, Tail::default())
    }

    /// [`Tape::batch_norm_eval`] and what follows it: the same bits as one after the other.
    pub fn batch_norm_eval_then(
        &mut self,
        x: &Var,
        gamma: &Var,
        beta: &Var,
        mean: &Tensor,
        var: &Tensor,
        eps: f32,
        tail: Tail,
    ) -> Result<Var> {
        let vectors = [
            ("a weight", gamma.shape()),
            ("a bias", beta.shape()),
            ("a mean", mean.shape()),
            ("a variance", var.shape()),
        ];
        let (rows, c) = checked(x, vectors, tail)?;
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
            tail.residual.map(|r| r.value().data()),
            tail.activation,
            y.data_mut(),
        );
        let (mean, var) = (mean.clone(), var.clone());
        Ok(self.record_batch_norm(Statistics::Given, [x, gamma, beta], mean, var, eps, tail, y))
    }

    fn record_batch_norm(
        &mut self,
        statistics: Statistics,
        [x, gamma, beta]: [&Var; 3],
        mean: Tensor,
        var: Tensor,
        eps: f32,
        tail: Tail,
        y: Tensor,
    ) -> Var {
        let activation = tail.activation;
        let saved = (activation != Activation::None).then(|| y.clone());
        let (x_value, gamma_value) = (x.value().clone(), gamma.value().clone());
        let op = BatchNormBackward {
            statistics,
            x: x_value,
            gamma: gamma_value,
            mean,
            var,
            eps,
            activation,
            y: saved,
        };
        let inputs: Vec<&Var> = [x, gamma, beta].into_iter().chain(tail.residual).collect();
        self.record(&inputs, y, op)
    }
}

const OP: &str = "batch norm";

/// Rows and channels of `x`, or an error where one of `vectors` has not as many elements as there are channels or
/// the residual has another shape.
fn checked<const V: usize>(x: &Var, vectors: [(&str, &[usize]); V], tail: Tail) -> Result<(usize, usize)> {
    let (rows, c) = rows(OP, x)?;
    vectors.into_iter().try_for_each(|(name, shape)| vector(OP, name, shape, c))?;
    tail.residual.map_or(Ok(()), |residual| same_shape(OP, x.shape(), residual.shape()))?;
    Ok((rows, c))
}

struct BatchNormBackward {
    statistics: Statistics,
    x: Tensor,
    gamma: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: f32,
    activation: Activation,
    /// The output, where an activation made it.
    y: Option<Tensor>,
}

impl Backward for BatchNormBackward {
    fn backward(
        self: Box<Self>,
        device: &Device,
        mut dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Self { statistics, x, gamma, mean, var, eps, activation, y } = *self;
        let c = gamma.len();
        let (mut dgamma, mut dbeta) = (Tensor::zeros(&[c]), Tensor::zeros(&[c]));
        let mut residual_dx = (wanted.get(3) == Some(&true)).then(|| Tensor::empty(device, x.shape()));
        let Device::Cpu(cpu) = device;
        cpu::batch_norm_backward(
            cpu,
            x.len() / c,
            c,
            statistics,
            x.data(),
            mean.data(),
            var.data(),
            gamma.data(),
            eps,
            activation,
            y.as_ref().map_or(&[], Tensor::data),
            dy.data_mut(),
            residual_dx.as_mut().map(Tensor::data_mut),
            dgamma.data_mut(),
            dbeta.data_mut(),
        );
        let (dx, residual) = match residual_dx {
            Some(dx) => (dx, Some(dy)),
            None => (dy, None),
        };
        let shares = [Some(dx), Some(dgamma), Some(dbeta), residual];
        Ok(shares.into_iter().take(wanted.len()).collect())
    }
}
