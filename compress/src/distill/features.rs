//! The losses of pairs of layers, and what is trained along for them.
//!
//! ```text
//!   student ─ layer ─► adapter ─► (batch norm) ─► loss ◄─ layer ─ teacher
//!                  └─► head ──────────────────► contrast ◄─ head ─┘
//! ```

use super::FeatureLoss;
use super::compare::compare_features;
use super::contrastive::Contrast;
use super::objective::{Distillation, added};
use lopper_engine::data::Batch;
use lopper_engine::{Result, Tape, Var};

impl Distillation {
    /// Adds the adapters and heads of all pairs to what is trained along. `ours` and `theirs` are the shapes of the outputs of the
    /// student's and of the first teacher's nodes.
    pub(super) fn add_adapters(&mut self, ours: &[Vec<usize>], theirs: &[Vec<usize>]) -> Result<()> {
        for (index, pair) in self.pairs.iter().enumerate() {
            let (shape, target) = (&ours[pair.student], &theirs[pair.teacher]);
            let [channels, wanted] = [shape, target].map(|shape| shape.last().copied().unwrap_or(0));
            if pair.loss == FeatureLoss::Crd {
                let contrast = Contrast::new(&self.config, &mut self.own, index, [channels, wanted])?;
                self.contrasts.insert(index, contrast);
            }
            if pair.adapter {
                self.own.add(adapter_name(index), shape, channels, wanted)?;
            }
            if pair.adapter && pair.loss == FeatureLoss::Ofd {
                self.own.add_norm(norm_name(index), wanted)?;
            }
        }
        Ok(())
    }

    /// The weighted sum of the losses of all pairs, for the student's outputs `ours` and the teacher's outputs `theirs` for
    /// the images of `batch`.
    pub(super) fn compare_pairs(
        &mut self,
        tape: &mut Tape,
        ours: &[Var],
        theirs: &[Var],
        batch: &Batch,
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
            let loss = match self.contrasts.get_mut(&index) {
                Some(contrast) => contrast.loss(&mut self.own, tape, [ours, theirs], batch)?,
                None => compare_features(&self.config, pair, tape, &adapted, theirs)?,
            };
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
