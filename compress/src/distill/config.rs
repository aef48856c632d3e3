//! The options of distillation.

use crate::names::named;
use lopper_engine::Result;
use lopper_engine::number::{self, Range};
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
    #[serde(default = "one", deserialize_with = "number::deserialize")]
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
    #[serde(deserialize_with = "number::deserialize")]
    pub weight: f32,
    /// How the logits are compared.
    pub loss: DistillLoss,
    /// The temperature T > 0 of soft targets. The higher, the more the teacher's small probabilities count.
    #[serde(deserialize_with = "number::deserialize")]
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
        number::single("distillation weight", self.weight.into(), Range::UpToOne)?;
        let temperature = f64::from(self.temperature);
        number::single("distillation temperature", temperature, Range::AboveZero)?;
        // The loss has the factor T².
        number::single("distillation temperature, squared", temperature * temperature, Range::AboveZero)?;
        self.hints.iter().try_for_each(|Hint { student, teacher, weight }| {
            let what = format_args!("hint {student} ← {teacher}: weight");
            number::single(what, (*weight).into(), Range::AtLeastZero).map(drop)
        })
    }
}
