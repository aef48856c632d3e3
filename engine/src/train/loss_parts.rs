//! The parts of a loss.

use serde::{Deserialize, Serialize};

/// The parts of a loss that are logged apart. They are not weighted: the loss is a weighted sum of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossParts {
    /// The loss of the task.
    pub task: f64,
    /// The distance to what a teacher says.
    pub distillation: f64,
}

impl LossParts {
    /// `self + factor · other`.
    pub(super) fn plus(self, factor: f64, other: Self) -> Self {
        Self {
            task: self.task + factor * other.task,
            distillation: self.distillation + factor * other.distillation,
        }
    }

    /// `factor · self`.
    pub(super) fn times(self, factor: f64) -> Self {
        Self::default().plus(factor, self)
    }
}
