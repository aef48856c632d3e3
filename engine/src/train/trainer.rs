//! The training loop.

use super::accumulate::{Group, grouped};
use super::gradients::{Computed, mean_gradients};
use super::loss_scale::LossScale;
use super::shrink::shrink;
use super::{
    Callback, Checkpoint, EpochMetrics, Flow, Keeper, LossParts, Objective, Optimizer, Position, Progress,
    Reduce, Schedule, Step, Why, Wish, score,
};
use crate::autograd::tape::Tape;
use crate::files::file::check_numbers;
use crate::train::data::Batches;
use crate::train::metrics::LayerSparsity;
use crate::{Device, Error, Graph, Result, memory};
use std::time::Instant;

/// A training, set up and ready to run.
pub struct Trainer<'a> {
    /// The device to train on.
    pub device: &'a Device,
    /// The optimizer. It outlives the training, so that a later training can continue with its state.
    pub optimizer: &'a mut Optimizer,
    /// The schedule of the learning rate.
    pub schedule: Schedule,
    /// The maximum learning rate.
    pub learning_rate: f64,
    /// Number of passes over the training images.
    pub epochs: usize,
    /// The seed for dropout.
    pub seed: u64,
    /// The loss to minimize.
    pub objective: &'a mut dyn Objective,
    /// Hooks, called in this order.
    pub callbacks: Vec<&'a mut dyn Callback>,
    /// Combines the gradients with those of other replicas, if there are any.
    pub reduce: Option<&'a mut dyn Reduce>,
}

/// The state of a training between two steps, besides the network and the optimizer.
struct Run {
    at: Position,
    history: Vec<EpochMetrics>,
    scale: LossScale,
}

/// The reason why the steps of an epoch pause.
enum Pause {
    EpochOver,
    Keep,
    Stop,
    /// The next batch cannot be read.
    BadData(Error),
}

impl Trainer<'_> {
    /// Trains `graph` on `train`, and evaluates it on `val` after each epoch. The first error from the data, the loss
    /// or a callback ends the training. A loss that is not finite is reported as [`Error::Diverged`], and its step is
    /// not taken. The same seed and data give the same bits, for any number of threads.
    pub fn fit(
        self,
        graph: &mut Graph,
        train: &mut dyn Batches,
        val: Option<&mut dyn Batches>,
    ) -> Result<Vec<EpochMetrics>> {
        self.fit_kept(graph, train, val, None, None)
    }

    /// Like [`Trainer::fit`], but resumes `from` a checkpoint of the same training, if given, and passes checkpoints to
    /// `keeper`: after each epoch, on request, and before it returns a data error, if the epoch has had a step. A
    /// resumed training replaces `graph` with the network of the checkpoint, and ends with the same bits as an
    /// uninterrupted one.
    ///
    /// # Errors
    /// The errors of [`Trainer::fit`]; [`Error::Stopped`] if the keeper ends the training; [`Error::Invalid`] if the
    /// checkpoint is from a different training; an error of the keeper.
    pub fn fit_kept(
        mut self,
        graph: &mut Graph,
        train: &mut dyn Batches,
        mut val: Option<&mut dyn Batches>,
        from: Option<Checkpoint>,
        mut keeper: Option<&mut dyn Keeper>,
    ) -> Result<Vec<EpochMetrics>> {
        self.check(train.len(), from.as_ref().map_or(&*graph, |checkpoint| &checkpoint.graph))?;
        if let Some(batch) = train.samples().checked_div(train.len()) {
            let [h, w, c] = train.image_shape();
            let moments = self.optimizer.config().moments();
            let steps = self.epochs * train.len().div_ceil(self.optimizer.accumulates());
            let trained = self.optimizer.freezing().at_last(graph, self.epochs, steps)?;
            trained.require_training([batch.max(1), h, w, c], moments, self.device)?;
        }
        if let Some(checkpoint) = &from {
            *graph = checkpoint.graph.clone();
        }
        self.callbacks.iter_mut().try_for_each(|c| c.on_begin(graph))?;
        let mut run =
            Run { at: Position::default(), history: Vec::new(), scale: LossScale::new(self.device) };
        if let Some(checkpoint) = from {
            run = self.restore(checkpoint, graph, train)?;
        }
        while run.at.epoch < self.epochs {
            let keeper = keeper.as_mut().map(|k| &mut **k as &mut dyn Keeper);
            let mut metrics = self.epoch(graph, train, &mut run, keeper)?;
            metrics.sparsity = LayerSparsity::of(graph);
            metrics.group_rates = self.optimizer.group_rates(graph, &metrics, train.len())?;
            self.callbacks.iter().for_each(|callback| callback.measure(&mut metrics));
            if let Some(val) = &mut val {
                let network = self.averaged().unwrap_or(graph);
                metrics.set_validation(&score(network, &mut **val, self.device)?);
            }
            let flow = self.epoch_over(graph, &metrics)?;
            run.history.push(metrics);
            if flow == Flow::Stop || run.at.stopped {
                break;
            }
            run.at = Position { epoch: run.at.epoch + 1, ..Position::default() };
        }
        self.callbacks.iter_mut().try_for_each(|c| c.on_end(graph))?;
        Ok(run.history)
    }

    /// Checks the hyperparameters of a training of `graph` with `batches` batches per epoch.
    fn check(&self, batches: usize, graph: &Graph) -> Result<()> {
        self.schedule.check_rates(self.learning_rate)?;
        self.optimizer.check(self.learning_rate, graph)?;
        // Optimizers count steps in 32 bits.
        match self.epochs.checked_mul(batches) {
            Some(steps) if u32::try_from(steps).is_ok() => Ok(()),
            _ => Err(Error::invalid(format!(
                "epochs: {} epochs of {batches} batches exceed {} steps",
                self.epochs,
                u32::MAX
            ))),
        }
    }

    /// Restores the state in `checkpoint`, except for its network, which `graph` already holds.
    fn restore(&mut self, checkpoint: Checkpoint, graph: &Graph, train: &mut dyn Batches) -> Result<Run> {
        let Checkpoint { position, history, optimizer, scale, callbacks, images, objective, .. } = checkpoint;
        let (epochs, batches) = (self.epochs, train.len());
        if position.epoch >= epochs || position.batch > batches {
            return Err(Error::invalid(format!(
                "checkpoint: taken in epoch {} at batch {}, but the training has {epochs} epochs of {batches} batches",
                position.epoch + 1,
                position.batch
            )));
        }
        if callbacks.len() != self.callbacks.len() {
            let (found, expected) = (callbacks.len(), self.callbacks.len());
            return Err(Error::invalid(format!(
                "checkpoint: expected the states of {expected} callbacks, found {found}"
            )));
        }
        self.optimizer.restore(optimizer, graph)?;
        self.callbacks.iter_mut().zip(callbacks).try_for_each(|(c, state)| c.restore(state))?;
        train.restore(images)?;
        self.objective.restore(objective)?;
        Ok(Run { at: position, history, scale })
    }

    /// Runs the rest of the current epoch of `run`.
    fn epoch(
        &mut self,
        graph: &mut Graph,
        train: &mut dyn Batches,
        run: &mut Run,
        mut keeper: Option<&mut dyn Keeper>,
    ) -> Result<EpochMetrics> {
        loop {
            let pause = self.steps(graph, train, run, &mut keeper)?;
            if run.at.images == 0 {
                return match pause {
                    Pause::BadData(error) => Err(error),
                    _ => Err(Error::invalid("training: the data set has no images")),
                };
            }
            // From here on, the weights are on the host, or this training has failed.
            graph.fetch()?;
            check_numbers(graph).map_err(|e| {
                let (epoch, step) = (run.at.epoch + 1, run.at.batch);
                Error::NotFinite { epoch, step, source: Box::new(e) }
            })?;
            if let Some(keeper) = &mut keeper {
                let why = match pause {
                    Pause::EpochOver => Why::EpochOver,
                    Pause::Keep => Why::Asked,
                    Pause::Stop => Why::Stopping,
                    Pause::BadData(_) => Why::BadData,
                };
                keeper.keep(self.checkpoint(graph, train, run)?, why)?;
            }
            match pause {
                Pause::EpochOver => return Ok(self.metrics(&run.at)),
                Pause::Keep => {}
                Pause::Stop => return Err(Error::Stopped),
                Pause::BadData(error) => return Err(error),
            }
        }
    }

    /// Runs steps of the current epoch of `run` until the epoch ends or must pause.
    fn steps(
        &mut self,
        graph: &mut Graph,
        train: &mut dyn Batches,
        run: &mut Run,
        keeper: &mut Option<&mut dyn Keeper>,
    ) -> Result<Pause> {
        if run.at.stopped {
            return Ok(Pause::EpochOver);
        }
        let started = Instant::now();
        let (epoch, per_epoch, size) = (run.at.epoch, train.len(), self.optimizer.accumulates());
        let steps = per_epoch.div_ceil(size);
        let mut pause = Pause::EpochOver;
        for group in grouped(train.epoch_from(epoch, run.at.batch)?, size) {
            let group = match group {
                Ok(group) => group,
                Err(error) => {
                    pause = Pause::BadData(error);
                    break;
                }
            };
            let step = epoch * steps + group.first / size;
            let progress = Progress { epoch, epochs: self.epochs, step, steps: self.epochs * steps };
            let (next, images) = (group.last + 1, group.images());
            let first = epoch * per_epoch + group.first;
            let Stepped { loss, parts, rate, flow } =
                self.step(graph, &group, progress, first, &mut run.scale)?;
            self.shrink(graph, progress)?;
            run.at.batch = next;
            run.at.loss += f64::from(loss) * images as f64;
            run.at.parts = parts.map(|parts| run.at.parts.unwrap_or_default().plus(images as f64, parts));
            run.at.images += images;
            run.at.learning_rate = rate;
            run.at.stopped = flow == Flow::Stop;
            pause = match keeper.as_mut().map_or(Wish::GoOn, |keeper| keeper.wish(progress)) {
                Wish::Stop => Pause::Stop,
                Wish::Keep if next < per_epoch => Pause::Keep,
                _ => Pause::EpochOver,
            };
            if run.at.stopped || !matches!(pause, Pause::EpochOver) {
                break;
            }
        }
        if matches!(pause, Pause::EpochOver) && !run.at.stopped && run.at.images > 0 {
            run.at.batch = per_epoch;
            let (step, steps) = ((epoch + 1) * steps - 1, self.epochs * steps);
            let progress = Progress { epoch, epochs: self.epochs, step, steps };
            self.callbacks.iter_mut().try_for_each(|c| c.on_steps_over(graph, progress))?;
            self.shrink(graph, progress)?;
        }
        run.at.seconds += started.elapsed().as_secs_f64();
        Ok(pause)
    }

    /// Lets callbacks shrink `graph` after the step of `progress`.
    fn shrink(&mut self, graph: &mut Graph, progress: Progress) -> Result<()> {
        shrink(graph, progress, &mut self.callbacks, self.optimizer, self.objective)
    }

    /// A checkpoint of the training's current state, with its tensors on the host.
    fn checkpoint(&self, graph: &Graph, train: &dyn Batches, run: &Run) -> Result<Checkpoint> {
        let optimizer = self.optimizer.states();
        optimizer.iter().flat_map(|(_, state)| &state.moments).try_for_each(crate::Tensor::fetch)?;
        Ok(Checkpoint {
            graph: graph.clone(),
            position: run.at,
            history: run.history.clone(),
            label: serde_json::Value::Null,
            optimizer,
            scale: run.scale,
            callbacks: self.callbacks.iter().map(|c| c.state()).collect(),
            images: train.state(),
            objective: self.objective.state(),
        })
    }

    fn metrics(&self, at: &Position) -> EpochMetrics {
        EpochMetrics {
            train_loss: at.loss / at.images as f64,
            parts: at.parts.map(|parts| parts.times(1.0 / at.images as f64)),
            seconds: at.seconds,
            images_per_second: at.images as f64 / at.seconds,
            learning_rate: at.learning_rate,
            peak_memory: memory::peak(),
            ..EpochMetrics::unvalidated(at.epoch, self.epochs)
        }
    }

    /// Runs one step on `group`, whose first batch is number `first` of the whole training.
    fn step(
        &mut self,
        graph: &mut Graph,
        group: &Group,
        progress: Progress,
        first: usize,
        scale: &mut LossScale,
    ) -> Result<Stepped> {
        self.objective.begin_step(progress);
        let frozen = self.optimizer.freezing().freeze(graph, progress)?;
        let whole = self.callbacks.iter().any(|callback| callback.reads_masked_gradients());
        let tape = || Tape::new(self.device).scaled(scale.factor()).with_masked_gradients(whole);
        let seed = self.seed.wrapping_add(first as u64);
        let computed = mean_gradients(graph, self.objective, group, seed, tape);
        // Only the gradients are spared: whatever sees the network from here on sees its parameters as they were.
        frozen.thaw(graph);
        let Computed { loss, parts, mut gradients } = computed?;
        if !loss.is_finite() {
            return Err(Error::Diverged { epoch: progress.epoch + 1, step: group.first + 1, loss });
        }
        if let Some(reduce) = &mut self.reduce {
            reduce.reduce(&mut gradients)?;
        }
        let rates = self.schedule.at(self.learning_rate, progress.fraction());
        if !scale.unscale(&mut gradients, self.device)? {
            return Ok(Stepped { loss, parts, rate: rates.learning_rate, flow: Flow::Continue });
        }
        let mut step = Step { graph, gradients: &mut gradients, progress, loss, rates };
        self.callbacks.iter_mut().try_for_each(|c| c.before_step(&mut step))?;
        if step.rates != rates {
            step.rates.check()?;
        }
        self.optimizer.step(step.graph, step.gradients, step.rates, self.device)?;
        self.objective.update(self.optimizer.config(), step.gradients, step.rates, self.device)?;
        let flow = self.each_callback(|c| c.after_step(&mut step))?;
        Ok(Stepped { loss, parts, rate: step.rates.learning_rate, flow })
    }

    /// The network that callbacks put in place of the one in training.
    fn averaged(&self) -> Option<&Graph> {
        self.callbacks.iter().rev().find_map(|callback| callback.network())
    }

    /// Passes the end of an epoch to the callbacks. The training stops if one of them stops it.
    fn epoch_over(&mut self, graph: &mut Graph, metrics: &EpochMetrics) -> Result<Flow> {
        let averaged = self.averaged().cloned();
        let network = averaged.as_ref().unwrap_or(graph);
        let evaluated = self.each_callback(|c| c.on_evaluated(network, metrics))?;
        let ended = self.each_callback(|c| c.on_epoch_end(graph, metrics))?;
        Ok(if evaluated == Flow::Stop { Flow::Stop } else { ended })
    }

    /// Calls `hook` of every callback. The training stops if one of them stops it.
    fn each_callback(&mut self, mut hook: impl FnMut(&mut dyn Callback) -> Result<Flow>) -> Result<Flow> {
        let mut flow = Flow::Continue;
        for callback in &mut self.callbacks {
            if hook(&mut **callback)? == Flow::Stop {
                flow = Flow::Stop;
            }
        }
        Ok(flow)
    }
}

/// The outcome of a step.
struct Stepped {
    loss: f32,
    parts: Option<LossParts>,
    /// The learning rate.
    rate: f64,
    flow: Flow,
}
