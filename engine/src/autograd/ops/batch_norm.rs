//! Batch normalization (Ioffe & Szegedy 2015) over the last axis, for images and vectors alike.

use super::{rows, same_shape, vector};
use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::cuda::{self, AverageTensor};
use lopper_kernels::params::{Activation, Normalized, Statistics};
use lopper_kernels::{cpu, shapes};

/// Batch statistics.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// Mean of each channel, `[C]`.
    pub mean: Tensor,
    /// Biased variance of each channel, `[C]`: divided by the number of rows.
    pub var: Tensor,
    /// Number of values per channel that the statistics cover, at least two.
    pub rows: usize,
}

impl BatchStats {
    /// Returns the updates that move running statistics towards these: `r ← (1 − momentum)·r + momentum·s`, where the
    /// variance is unbiased (divided by `rows − 1`).
    pub(crate) fn moves<'a>(
        &'a self,
        mean: &'a mut Tensor,
        var: &'a mut Tensor,
        momentum: f32,
    ) -> [Move<'a>; 2] {
        let unbiased = self.rows as f32 / (self.rows - 1) as f32;
        [
            Move { running: mean, towards: &self.mean, factor: 1.0, momentum },
            Move { running: var, towards: &self.var, factor: unbiased, momentum },
        ]
    }
}

/// Pending update of a running statistic: `r ← r + momentum·(factor·s − r)`.
pub(crate) struct Move<'a> {
    running: &'a mut Tensor,
    towards: &'a Tensor,
    factor: f32,
    momentum: f32,
}

/// Applies all `moves`, on a GPU in one launch.
pub(crate) fn move_running(device: &Device, moves: Vec<Move>) -> Result<()> {
    match device {
        Device::Cpu(_) => {
            for Move { running, towards, factor, momentum } in moves {
                for (r, &s) in running.data_mut().iter_mut().zip(towards.data()) {
                    *r += momentum * (s * factor - *r);
                }
            }
        }
        Device::Cuda(gpu) => {
            let average = |Move { running, towards, factor, momentum }| -> Result<AverageTensor> {
                let (r, s) = (Tensor::on_mut(running, gpu)?, Tensor::on(towards, gpu)?);
                Ok(AverageTensor { r, s, keep: 1.0 - momentum, take: momentum * factor })
            };
            let mut averages: Vec<AverageTensor> = moves.into_iter().map(average).collect::<Result<_>>()?;
            cuda::move_averages(gpu, &mut averages)?;
        }
    }
    Ok(())
}

/// Operations fused after a batch norm into the same pass over memory: `activation(y + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tail<'a> {
    /// Residual, of the same shape as the batch norm's output.
    pub residual: Option<&'a Var>,
    /// Activation, applied last.
    pub activation: Activation,
}

impl Tape {
    /// Computes `γ (x − μ) / √(σ² + eps) + β` with the statistics of the batch: `x` `[…, C]`, `gamma` and `beta` `[C]`.
    /// Returns an error if a channel has only one value, because its variance is undefined.
    pub fn batch_norm_train(
        &mut self,
        x: &Var,
        gamma: &Var,
        beta: &Var,
        eps: f32,
    ) -> Result<(Var, BatchStats)> {
        self.batch_norm_train_then(x, gamma, beta, eps, Tail::default())
    }

    /// Computes [`Tape::batch_norm_train`] followed by `tail`, bit-identical to separate operations.
    pub fn batch_norm_train_then(
        &mut self,
        x: &Var,
        gamma: &Var,
        beta: &Var,
        eps: f32,
        tail: Tail,
    ) -> Result<(Var, BatchStats)> {
        let g = checked(x, [("a weight", gamma.shape()), ("a bias", beta.shape())], eps, tail)?;
        if g.rows < 2 {
            let shape = x.shape();
            return Err(Error::shape(
                OP,
                format!("training needs more than one value per channel, found {shape:?}"),
            ));
        }
        let device = self.device();
        let residual = tail.residual.map(|r| r.value().as_stored(device, x.value())).transpose()?;
        let mut y = Tensor::like(device, x.value(), x.shape())?;
        let (mut mean, mut var) = (Tensor::empty(device, &[g.c])?, Tensor::empty(device, &[g.c])?);
        match device {
            Device::Cpu(cpu) => {
                let affine = [gamma.value().data(), beta.value().data()];
                let residual = residual.as_ref().map(Tensor::data);
                let end = cpu::Epilogue { bias: None, residual, activation: tail.activation };
                let statistics = [mean.data_mut(), var.data_mut()];
                cpu::batch_norm_forward_train(
                    cpu,
                    &g,
                    x.value().data(),
                    affine,
                    &end,
                    y.data_mut(),
                    statistics,
                );
            }
            Device::Cuda(gpu) => {
                let affine = [gamma.value().on(gpu)?, beta.value().on(gpu)?];
                let residual = residual.as_ref().map(|r| r.on(gpu)).transpose()?;
                let end = cuda::Epilogue { bias: None, residual, activation: tail.activation };
                let (x, y) = (x.value().on(gpu)?, y.on_mut(gpu)?);
                let statistics = [mean.on_mut(gpu)?, var.on_mut(gpu)?];
                cuda::batch_norm_forward_train(gpu, &g, x, affine, &end, y, statistics)?;
            }
        }
        let stats = BatchStats { mean, var, rows: g.rows };
        let statistics = (Statistics::Batch, [&stats.mean, &stats.var]);
        Ok((self.record_batch_norm([x, gamma, beta], statistics, eps, tail, y), stats))
    }

    /// Computes `γ (x − mean) / √(var + eps) + β` with the given `statistics`, mean and variance: `x` `[…, C]`,
    /// everything else `[C]`.
    pub fn batch_norm_eval(
        &mut self,
        x: &Var,
        gamma: &Var,
        beta: &Var,
        statistics: [&Tensor; 2],
        eps: f32,
    ) -> Result<Var> {
        self.batch_norm_eval_then(x, gamma, beta, statistics, eps, Tail::default())
    }

    /// Computes [`Tape::batch_norm_eval`] followed by `tail`, bit-identical to separate operations.
    pub fn batch_norm_eval_then(
        &mut self,
        x: &Var,
        gamma: &Var,
        beta: &Var,
        statistics: [&Tensor; 2],
        eps: f32,
        tail: Tail,
    ) -> Result<Var> {
        let vectors = [
            ("a weight", gamma.shape()),
            ("a bias", beta.shape()),
            ("a mean", statistics[0].shape()),
            ("a variance", statistics[1].shape()),
        ];
        let g = checked(x, vectors, eps, tail)?;
        let device = self.device();
        let residual = tail.residual.map(|r| r.value().as_stored(device, x.value())).transpose()?;
        let mut y = Tensor::like(device, x.value(), x.shape())?;
        match device {
            Device::Cpu(cpu) => {
                let affine = [gamma.value().data(), beta.value().data()];
                let residual = residual.as_ref().map(Tensor::data);
                let end = cpu::Epilogue { bias: None, residual, activation: tail.activation };
                let statistics = statistics.map(Tensor::data);
                cpu::batch_norm_forward_eval(
                    cpu,
                    &g,
                    x.value().data(),
                    statistics,
                    affine,
                    &end,
                    y.data_mut(),
                );
            }
            Device::Cuda(gpu) => {
                let affine = [gamma.value().on(gpu)?, beta.value().on(gpu)?];
                let residual = residual.as_ref().map(|r| r.on(gpu)).transpose()?;
                let end = cuda::Epilogue { bias: None, residual, activation: tail.activation };
                let statistics = [statistics[0].on(gpu)?, statistics[1].on(gpu)?];
                let (x, y) = (x.value().on(gpu)?, y.on_mut(gpu)?);
                cuda::batch_norm_forward_eval(gpu, &g, x, statistics, affine, &end, y)?;
            }
        }
        Ok(self.record_batch_norm([x, gamma, beta], (Statistics::Given, statistics), eps, tail, y))
    }

    fn record_batch_norm(
        &mut self,
        [x, gamma, beta]: [&Var; 3],
        (statistics, [mean, var]): (Statistics, [&Tensor; 2]),
        eps: f32,
        tail: Tail,
        y: Tensor,
    ) -> Var {
        let inputs: Vec<&Var> = [x, gamma, beta].into_iter().chain(tail.residual).collect();
        let activation = tail.activation;
        let saved = (activation != Activation::None).then(|| y.clone());
        let [x_value, gamma, mean, var] = [x.value(), gamma.value(), mean, var].map(Tensor::clone);
        let forward = Normalized { statistics, x: x_value, mean, var, gamma, activation, y: saved };
        let op = BatchNormBackward { forward, eps };
        self.record(&inputs, y, op)
    }
}

const OP: &str = "batch norm";

/// Returns the geometry of a batch norm of `x`, or an error if the length of one of `vectors` differs from the number
/// of channels or the residual has another shape.
fn checked<const V: usize>(
    x: &Var,
    vectors: [(&str, &[usize]); V],
    eps: f32,
    tail: Tail,
) -> Result<shapes::BatchNorm> {
    let (rows, c) = rows(OP, x)?;
    vectors.into_iter().try_for_each(|(name, shape)| vector(OP, name, shape, c))?;
    tail.residual.map_or(Ok(()), |residual| same_shape(OP, x.shape(), residual.shape()))?;
    Ok(shapes::BatchNorm { rows, c, eps })
}

struct BatchNormBackward {
    /// The output is saved only if there is an activation.
    forward: Normalized<Tensor>,
    eps: f32,
}

impl Backward for BatchNormBackward {
    fn backward(
        self: Box<Self>,
        device: &Device,
        mut dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let (forward, x) = (&self.forward, &self.forward.x);
        let c = forward.gamma.len();
        let g = shapes::BatchNorm { rows: x.len() / c, c, eps: self.eps };
        dy = dy.as_stored(device, x)?;
        let (mut dgamma, mut dbeta) = (Tensor::empty(device, &[c])?, Tensor::empty(device, &[c])?);
        let mut residual_dx = match wanted.get(3) {
            Some(true) => Some(Tensor::like(device, x, x.shape())?),
            _ => None,
        };
        match device {
            Device::Cpu(cpu) => {
                let forward = forward.try_map(|tensor| -> Result<_> { Ok(tensor.data()) })?;
                let (beside, affine) =
                    (residual_dx.as_mut().map(Tensor::data_mut), [dgamma.data_mut(), dbeta.data_mut()]);
                cpu::batch_norm_backward(cpu, &g, &forward, dy.data_mut(), beside, affine);
            }
            Device::Cuda(gpu) => {
                let forward = forward.try_map(|tensor| tensor.on(gpu))?;
                let beside = residual_dx.as_mut().map(|dx| dx.on_mut(gpu)).transpose()?;
                let affine = [dgamma.on_mut(gpu)?, dbeta.on_mut(gpu)?];
                cuda::batch_norm_backward(gpu, &g, &forward, dy.on_mut(gpu)?, beside, affine)?;
            }
        }
        let (dx, residual) = match residual_dx {
            Some(dx) => (dx, Some(dy)),
            None => (dy, None),
        };
        let shares = [Some(dx), Some(dgamma), Some(dbeta), residual];
        Ok(shares.into_iter().take(wanted.len()).collect())
    }
}
