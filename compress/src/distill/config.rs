//! The options of distillation.

use crate::names::named;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the student's logits are compared with the teacher's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistillLoss {
    /// `T² · KL(softmax(teacher/T) ‖ softmax(student/T))` (Hinton et al. 2015). The factor T² keeps the size of
    /// the gradient independent of the temperature T.
    #[default]
    SoftTargets,
    /// The mean squared error of the logits (Ba & Caruana 2014).
    Logits,
}

named!(DistillLoss, "distillation loss");

/// A pair of layers whose outputs are compared (FitNets, Romero et al. 2015), by their mean squared
/// error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    /// The student's layer.
    pub student: String,
    /// The teacher's layer, whose output has the same shape.
    pub teacher: String,
    /// The weight of the pair, relative to the loss of the logits.
    #[serde(default = "one")]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

/// The options of distillation, as a recipe writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillConfig {
    /// The weight of distillation in the loss, in 0..=1. The task gets the rest.
    pub weight: f32,
    /// How the logits are compared.
    pub loss: DistillLoss,
    /// The temperature T > 0 of soft targets. The higher, the more the teacher's small probabilities count.
    pub temperature: f32,
    /// Pairs of layers whose outputs are compared, too.
    pub hints: Vec<Hint>,
}

impl Default for DistillConfig {
    /// Soft targets at T = 5, weighted equally with the task.
    fn default() -> Self {
        Self { weight: 0.5, loss: DistillLoss::default(), temperature: 5.0, hints: Vec::new() }
    }
}

impl DistillConfig {
    /// Checks the options that can be checked without the networks. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.weight) {
            return Err(Error::invalid(format!(
                "distillation weight: expected in [0, 1], found {}",
                self.weight
            )));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(Error::invalid(format!(
                "distillation temperature: expected above 0, found {}",
                self.temperature
            )));
        }
        match self.hints.iter().find(|h| !(h.weight >= 0.0 && h.weight.is_finite())) {
            Some(hint) => Err(Error::invalid(format!(
                "hint {} ← {}: expected a weight of at least 0, found {}",
                hint.student, hint.teacher, hint.weight
            ))),
            None => Ok(()),
        }
    }
}
