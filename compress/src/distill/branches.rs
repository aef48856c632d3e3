//! Branches: classifiers of a network's own layers, which learn from what lies deeper.
//!
//! ```text
//!   layer1 ─► layer2 ─► layer3 ─► features ─► logits
//!     │         │                    ▲  ▲        ▲
//!     │         └─ pool ─ adapter ───┘  │        │        λ · mean squared error, which layers before the branch feel
//!     │                └─ classifier ───┼────────┤        soft targets, and the task
//!     └─────────── pool ─ … ────────────┘ ───────┘
//! ```
//!
//! Zhang et al. 2019, "Be your own teacher: improve the performance of convolutional neural networks via self distillation".
//! Classifiers and adapters are trained along and dropped afterwards.

use super::compare::{compare_logits, pooled};
use super::objective::{Distillation, added, mixed};
use super::pairs::classified;
use lopper_engine::data::Batch;
use lopper_engine::{Error, Graph, Pass, Result, Tape, Var};

impl Distillation {
    /// Adds the branches of the configuration to those of `student`, whose outputs have the shapes `ours`.
    ///
    /// # Errors
    /// If a layer does not exist, or features are asked for that no layer classifies.
    pub(super) fn add_branches(&mut self, student: &Graph, ours: &[Vec<usize>]) -> Result<()> {
        let classes = ours[student.output()].last().copied().unwrap_or(0);
        for name in &self.config.branches {
            let id = student.id(name).map_err(|e| Error::invalid(format!("distillation branches: {e}")))?;
            let channels = ours[id].last().copied().unwrap_or(0);
            self.own.add(branch_name(self.branches.len()), &[1, channels], channels, classes)?;
            self.branches.push(id);
        }
        if self.config.branch_hint > 0.0 {
            let deepest = classified(student).ok_or_else(|| {
                Error::invalid(
                    "distillation branch_hint: expected a last layer that classifies features, found none",
                )
            })?;
            let features = ours[deepest].last().copied().unwrap_or(0);
            for (index, &id) in self.branches.iter().enumerate() {
                let channels = ours[id].last().copied().unwrap_or(0);
                self.own.add(hint_name(index), &[1, channels], channels, features)?;
            }
            self.deepest = Some(deepest);
        }
        Ok(())
    }

    /// The loss of the branches, and their part of the distillation.
    pub(super) fn branches(
        &mut self,
        tape: &mut Tape,
        pass: &Pass,
        batch: &Batch,
    ) -> Result<Option<(Var, f64)>> {
        let (mut sum, mut distance) = (None, 0.0);
        let taps = &pass.taps[self.pairs.len()..];
        let (taps, deepest) = taps.split_at(self.branches.len());
        let deepest = deepest.first().map(|features| pooled(tape, features)).transpose()?;
        for (index, x) in taps.iter().enumerate() {
            let pooled = pooled(tape, x)?;
            let logits = self.own.apply(tape, &branch_name(index), &pooled)?;
            let task = self.task.of(tape, &logits, &batch.labels, batch.mixed.as_ref())?;
            let loss = match self.weight {
                0.0 => task,
                weight => {
                    let lesson = compare_logits(&self.config, tape, &logits, pass.output.value(), batch)?;
                    distance += f64::from(lesson.value().item()?);
                    mixed(tape, weight, &task, &lesson)?
                }
            };
            sum = Some(added(tape, sum, loss)?);
            if let Some(features) = &deepest {
                let adapted = self.own.apply(tape, &hint_name(index), &pooled)?;
                // On a tape of their own, the features are constants.
                let theirs = Tape::no_grad(tape.device()).leaf(features.value().clone());
                let hint = tape.mse(&adapted, &theirs)?;
                distance += f64::from(self.config.branch_hint * hint.value().item()?);
                let hint = tape.scale(&hint, self.config.branch_hint)?;
                sum = Some(added(tape, sum, hint)?);
            }
        }
        Ok(sum.map(|sum| (sum, distance)))
    }
}

fn branch_name(branch: usize) -> String {
    format!("branch {branch}")
}

fn hint_name(branch: usize) -> String {
    format!("hint of branch {branch}")
}
