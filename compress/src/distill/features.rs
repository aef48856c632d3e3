//! The losses of pairs of layers, and what is trained along for them.
//!
//! ```text
//!   student ─ layer ─► adapter ─► (batch norm) ─► loss ◄─ layer ─ teacher
//! ```

use super::FeatureLoss;
use super::compare::compare_features;
use super::objective::{Distillation, added};
use lopper_engine::{Result, Tape, Var};

impl Distillation {
    /// Adds the adapters of all pairs to what is trained along. `ours` and `theirs` are the shapes of the outputs of the
    /// student's and of the first teacher's nodes.
    pub(super) fn add_adapters(&mut self, ours: &[Vec<usize>], theirs: &[Vec<usize>]) -> Result<()> {
        for (index, pair) in self.pairs.iter().enumerate().filter(|(_, pair)| pair.adapter) {
            let (shape, target) = (&ours[pair.student], &theirs[pair.teacher]);
            let channels = |shape: &[usize]| shape.last().copied().unwrap_or(0);
            self.own.add(adapter_name(index), shape, channels(shape), channels(target))?;
            if pair.loss == FeatureLoss::Ofd {
                self.own.add_norm(norm_name(index), channels(target))?;
            }
        }
        Ok(())
    }

    /// The weighted sum of the losses of all pairs, for the student's outputs `ours` and the teacher's outputs `theirs`.
    pub(super) fn compare_pairs(
        &mut self,
        tape: &mut Tape,
        ours: &[Var],
        theirs: &[Var],
    ) -> Result<Option<Var>> {
        let mut sum = None;
        // Variables of another tape are constants on this one, so no gradient flows into the teacher.
        for (index, ((pair, ours), theirs)) in self.pairs.iter().zip(ours).zip(theirs).enumerate() {
            let mut adapted = ours.clone();
            if pair.adapter {
                adapted = self.own.apply(tape, &adapter_name(index), &adapted)?;
            }
            if pair.adapter && pair.loss == FeatureLoss::Ofd {
                adapted = self.own.apply(tape, &norm_name(index), &adapted)?;
            }
            let loss = compare_features(&self.config, pair, tape, &adapted, theirs)?;
            let weighted = tape.scale(&loss, pair.weight)?;
            sum = Some(added(tape, sum, weighted)?);
        }
        Ok(sum)
    }
}

fn adapter_name(pair: usize) -> String {
    format!("adapter {pair}")
}

fn norm_name(pair: usize) -> String {
    format!("norm of adapter {pair}")
}
