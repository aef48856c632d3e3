//! The options of training in a stage.

use lopper_engine::number::{self, Range};
use lopper_engine::train::{OptimizerConfig, Schedule};
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
}

/// More epochs than any training needs; a larger number is a typo.
const MAX_EPOCHS: usize = 1_000_000;

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
        self.schedule.check_rates(self.learning_rate)?;
        self.optimizer.check()
    }
}
