//! The options of training in a stage.

use super::ClassWeights;
use lopper_engine::number::{self, Range};
use lopper_engine::train::{
    Best, EarlyStopping, Monitor, MovingAverage, Optimizer, OptimizerConfig, ParamGroup, Schedule,
};
use lopper_engine::{Error, Result};
use serde::Deserialize;

/// Options of training.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Largest learning rate of the schedule.
    pub learning_rate: f64,
    /// Optimizer, by default AdamW. Biases and batch norms do not decay.
    #[serde(default = "adamw")]
    pub optimizer: OptimizerConfig,
    /// Learning rate schedule, by default one cycle.
    #[serde(default = "Schedule::one_cycle")]
    pub schedule: Schedule,
    /// Share of each target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Weights of the classes in the loss. By default, all images count alike.
    pub class_weights: Option<ClassWeights>,
    /// Parameters with a learning rate and weight decay of their own.
    #[serde(default)]
    pub groups: Vec<ParamGroup>,
    /// Largest norm of all gradients together; a larger one is scaled down to it. By default, none is.
    pub clip_norm: Option<f64>,
    /// Batches whose gradients make one step.
    #[serde(default = "one_batch")]
    pub accumulate: usize,
    /// Decay of the moving average of the weights, which is validated and becomes the network of the stage. By default,
    /// the weights are not averaged.
    pub ema: Option<f64>,
    /// Metric of the validation images by which epochs are compared, by default the accuracy. Only with `save_best` or
    /// `early_stopping`.
    pub monitor: Option<Monitor>,
    /// Whether the network of the best epoch, rather than that of the last, becomes the network of the stage.
    #[serde(default)]
    pub save_best: bool,
    /// When to stop a training that no longer improves.
    pub early_stopping: Option<EarlyStopping>,
}

/// More epochs than any training needs; a larger number is a typo.
const MAX_EPOCHS: usize = 1_000_000;

/// More batches a step than any training needs; a larger number is a typo.
const MAX_ACCUMULATED: usize = 65_536;

fn one_batch() -> usize {
    1
}

fn adamw() -> OptimizerConfig {
    OptimizerConfig::AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }
}

impl TrainConfig {
    /// Returns an error that names the first invalid option.
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_EPOCHS).contains(&self.epochs) {
            return Err(Error::invalid(format!("epochs: expected 1 to {MAX_EPOCHS}, found {}", self.epochs)));
        }
        number::single("label_smoothing", self.label_smoothing, Range::BelowOne)?;
        self.clip_norm
            .map_or(Ok(()), |norm| number::single("clip_norm", norm, Range::AboveZero).map(drop))?;
        if !(1..=MAX_ACCUMULATED).contains(&self.accumulate) {
            let found = self.accumulate;
            return Err(Error::invalid(format!(
                "accumulate: expected 1 to {MAX_ACCUMULATED}, found {found}"
            )));
        }
        self.average()?;
        self.class_weights.as_ref().map_or(Ok(()), ClassWeights::check)?;
        self.early_stopping.map_or(Ok(()), |stopping| stopping.check())?;
        if self.monitor.is_some() && self.asks_for_best().is_none() {
            return Err(Error::invalid(
                "monitor: nothing compares the epochs by it; expected save_best or early_stopping beside it",
            ));
        }
        self.schedule.check_rates(self.learning_rate)?;
        self.optimizer.check()?;
        self.groups.iter().try_for_each(|group| group.check(self.learning_rate))
    }

    /// Returns the optimizer of a new training.
    pub fn optimizer(&self) -> Optimizer {
        Optimizer::new(self.optimizer)
            .without_vector_decay()
            .accumulating(self.accumulate)
            .with_groups(self.groups.clone())
    }

    /// Returns the moving average of a new training, if the weights are to be averaged.
    pub fn average(&self) -> Result<Option<MovingAverage>> {
        self.ema.map(MovingAverage::new).transpose()
    }

    /// Returns the follower of a new training's best epoch, if one is wanted.
    pub fn best(&self) -> Option<Best> {
        self.asks_for_best()
            .map(|_| Best::new(self.monitor.unwrap_or_default(), self.early_stopping, self.save_best))
    }

    /// Returns the option that asks for the best epoch, if one does.
    pub fn asks_for_best(&self) -> Option<&'static str> {
        match self {
            Self { save_best: true, .. } => Some("save_best"),
            Self { early_stopping: Some(_), .. } => Some("early_stopping"),
            _ => None,
        }
    }

    /// Returns the number of copies of the weights that a checkpoint holds besides those of the network and the
    /// optimizer. They are stored in double precision.
    pub fn copies(&self) -> u64 {
        u64::from(self.ema.is_some()) + u64::from(self.save_best)
    }
}
