//! The objective that training minimizes.

use crate::autograd::exec::Pass;
use crate::autograd::tape::{Tape, Var};
use crate::train::data::{Batch, Mixed};
use crate::{NodeId, Result};

/// A training loss.
pub trait Objective {
    /// The loss, a single element, of `pass`, the network's forward pass over `batch`.
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var>;

    /// Nodes whose outputs the loss reads from [`Pass::taps`].
    fn taps(&self) -> Vec<NodeId> {
        Vec::new()
    }
}

/// Cross entropy, the task loss of classification.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// Label smoothing, in `[0, 1]`.
    pub smoothing: f32,
}

impl CrossEntropy {
    /// The cross entropy of `logits` `[N, K]` with `labels`; for mixed images, the mean of those with both classes,
    /// weighted by their shares (Zhang et al. 2017, arXiv:1710.09412).
    pub fn of(&self, tape: &mut Tape, logits: &Var, labels: &[u32], mixed: Option<&Mixed>) -> Result<Var> {
        let first = tape.cross_entropy(logits, labels, self.smoothing)?;
        let Some(Mixed { labels, share }) = mixed else { return Ok(first) };
        let second = tape.cross_entropy(logits, labels, self.smoothing)?;
        let (first, second) = (tape.scale(&first, 1.0 - share)?, tape.scale(&second, *share)?);
        tape.add(&first, &second)
    }
}

impl Objective for CrossEntropy {
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        self.of(tape, &pass.output, &batch.labels, batch.mixed.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Tensor};

    /// Values and gradients are the weighted sums of those with each class.
    #[test]
    fn mixed_images_have_the_weighted_loss_of_both_classes() {
        let device = Device::cpu();
        let values = Tensor::from_fn(&[2, 3], |i| (i * 7 % 5) as f32 - 1.5);
        let (one, other, share) = ([0, 2], vec![1, 2], 0.25);
        let loss = |labels: &[u32], mixed: Option<&Mixed>| {
            let mut tape = Tape::new(&device);
            let logits = tape.leaf(values.clone());
            let loss = CrossEntropy { smoothing: 0.1 }.of(&mut tape, &logits, labels, mixed).unwrap();
            let gradients = tape.backward(&loss).unwrap();
            (loss.value().item().unwrap(), gradients.get(&logits).unwrap().data().to_vec())
        };
        let (a, b) = (loss(&one, None), loss(&other, None));
        let found = loss(&one, Some(&Mixed { labels: other.clone(), share }));
        assert!((found.0 - (0.75 * a.0 + 0.25 * b.0)).abs() < 1e-6);
        for ((found, a), b) in found.1.iter().zip(&a.1).zip(&b.1) {
            assert!((found - (0.75 * a + 0.25 * b)).abs() < 1e-6);
        }
    }
}
