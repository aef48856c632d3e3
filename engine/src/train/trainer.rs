//! The training loop.

use super::loss_scale::LossScale;
use super::{Callback, EpochMetrics, Objective, Optimizer, Progress, Schedule, Step, evaluate};
use crate::data::{Batch, Batches};
use crate::exec::ParamGradients;
use crate::tape::{Mode, Tape};
use crate::{Device, Error, Graph, Result};
use std::time::Instant;

/// A training, set up and ready to run.
pub struct Trainer<'a> {
    /// Where it runs.
    pub device: &'a Device,
    /// What updates the weights. It outlives the training, so that a later one can go on with its state.
    pub optimizer: &'a mut Optimizer,
    /// The course of the learning rate.
    pub schedule: Schedule,
    /// The largest learning rate.
    pub learning_rate: f64,
    /// How often every image is seen.
    pub epochs: usize,
    /// The seed of dropout.
    pub seed: u64,
    /// What is minimised.
    pub objective: &'a mut dyn Objective,
    /// Hooks, called in this order.
    pub callbacks: Vec<&'a mut dyn Callback>,
}

impl Trainer<'_> {
    /// Trains `graph` on `train`, and evaluates it on `val` after each epoch. The first error of data, loss or
    /// callback ends the training; a loss that is not finite is [`Error::Diverged`], and that step is not taken.
    /// The same seed and data give the same bits, for any number of threads.
    pub fn fit(
        mut self,
        graph: &mut Graph,
        train: &mut dyn Batches,
        mut val: Option<&mut dyn Batches>,
    ) -> Result<Vec<EpochMetrics>> {
        self.check(train.len())?;
        if let Some(batch) = train.samples().checked_div(train.len()) {
            let [h, w, c] = train.image_shape();
            let moments = self.optimizer.config().moments();
            graph.require_training([batch.max(1), h, w, c], moments, self.device)?;
        }
        self.callbacks.iter_mut().try_for_each(|c| c.on_begin(graph))?;
        let mut history = Vec::new();
        let mut scale = LossScale::new(self.device);
        for epoch in 0..self.epochs {
            let mut metrics = self.epoch(epoch, graph, train, &mut scale)?;
            if let Some(val) = &mut val {
                let evaluation = evaluate(graph, &mut **val, self.device)?;
                metrics.val_loss = Some(evaluation.loss);
                metrics.val = Some(evaluation.accuracy);
            }
            self.callbacks.iter_mut().try_for_each(|c| c.on_epoch_end(graph, &metrics))?;
            history.push(metrics);
        }
        self.callbacks.iter_mut().try_for_each(|c| c.on_end(graph))?;
        Ok(history)
    }

    /// Checks the numbers of a training with `batches` batches an epoch.
    fn check(&self, batches: usize) -> Result<()> {
        self.schedule.check_rates(self.learning_rate)?;
        self.optimizer.config().check()?;
        // Optimizers count steps in 32 bits.
        match self.epochs.checked_mul(batches) {
            Some(steps) if u32::try_from(steps).is_ok() => Ok(()),
            _ => Err(Error::invalid(format!(
                "epochs: {} epochs of {batches} batches are more than {} steps",
                self.epochs,
                u32::MAX
            ))),
        }
    }

    fn epoch(
        &mut self,
        epoch: usize,
        graph: &mut Graph,
        train: &mut dyn Batches,
        scale: &mut LossScale,
    ) -> Result<EpochMetrics> {
        let started = Instant::now();
        let per_epoch = train.len();
        let (mut loss, mut images, mut learning_rate) = (0.0, 0, 0.0);
        for (i, batch) in train.epoch(epoch)?.enumerate() {
            let step = epoch * per_epoch + i;
            let progress = Progress { epoch, epochs: self.epochs, step, steps: self.epochs * per_epoch };
            let batch = batch?;
            let size = batch.labels.len();
            let (step_loss, step_rate) = self.step(graph, batch, progress, i, scale)?;
            loss += f64::from(step_loss) * size as f64;
            images += size;
            learning_rate = step_rate;
        }
        if images == 0 {
            return Err(Error::invalid("training: the data set holds no image"));
        }
        // Whoever reads the weights from here on finds them, or this training has failed.
        graph.fetch()?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(EpochMetrics {
            epoch,
            epochs: self.epochs,
            train_loss: loss / images as f64,
            val_loss: None,
            val: None,
            seconds,
            images_per_second: images as f64 / seconds,
            learning_rate,
        })
    }

    /// One step; its loss and learning rate.
    fn step(
        &mut self,
        graph: &mut Graph,
        batch: Batch,
        progress: Progress,
        i: usize,
        scale: &mut LossScale,
    ) -> Result<(f32, f64)> {
        let seed = self.seed.wrapping_add(progress.step as u64);
        let tape = Tape::new(self.device).seed(seed).scaled(scale.factor());
        let (loss, mut gradients) = gradients(graph, self.objective, &batch, tape)?;
        if !loss.is_finite() {
            return Err(Error::Diverged { epoch: progress.epoch + 1, step: i + 1, loss });
        }
        let rates = self.schedule.at(self.learning_rate, progress.fraction());
        if !scale.unscale(&mut gradients, self.device)? {
            return Ok((loss, rates.learning_rate));
        }
        let mut step = Step { graph, gradients: &mut gradients, progress, loss };
        self.callbacks.iter_mut().try_for_each(|c| c.before_step(&mut step))?;
        self.optimizer.step(step.graph, step.gradients, rates, self.device)?;
        self.callbacks.iter_mut().try_for_each(|c| c.after_step(&mut step))?;
        Ok((loss, rates.learning_rate))
    }
}

/// The loss of `batch` and its gradients on `tape`, in training mode; no gradients where the loss is not finite, else
/// the batch norms of `graph` take in the statistics of the batch. Everything else that the run made is freed on
/// return, so that the optimizer writes the weights in place.
pub fn gradients(
    graph: &mut Graph,
    objective: &mut dyn Objective,
    batch: &Batch,
    mut tape: Tape,
) -> Result<(f32, ParamGradients)> {
    let pass = graph.forward(&mut tape, Mode::Train, batch.images.clone(), &objective.taps())?;
    tape.enter("loss", "loss");
    let loss = objective.loss(&mut tape, &pass, batch)?;
    let value = loss.value().item()?;
    if !value.is_finite() {
        return Ok((value, ParamGradients::new()));
    }
    let gradients = pass.gradients(tape.backward(&loss)?);
    graph.commit(&pass)?;
    Ok((value, gradients))
}
