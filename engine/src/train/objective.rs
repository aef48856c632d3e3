//! The objective that training minimizes.

use super::{LossParts, OptimizerConfig, Progress, Rates, State};
use crate::autograd::exec::{ParamGradients, Pass};
use crate::autograd::tape::{Gradients, Tape, Var};
use crate::number::{self, Range};
use crate::train::data::{Batch, Mixed};
use crate::{Device, Error, NodeId, Result, Tensor};

/// A training loss.
pub trait Objective {
    /// The loss, a single element, of `pass`, the network's forward pass over `batch`.
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var>;

    /// Nodes whose outputs the loss reads from [`Pass::taps`].
    fn taps(&self) -> Vec<NodeId> {
        Vec::new()
    }

    /// Called before the batches of each step, with the step's place in the training.
    fn begin_step(&mut self, _progress: Progress) {}

    /// The parts of the last loss, if it is a sum whose parts are logged apart.
    fn parts(&self) -> Option<LossParts> {
        None
    }

    /// Removes from `gradients`, those of the last loss, the gradients of the parameters that the objective itself trains
    /// along with the network: by paths that no network has. Clipping, accumulation and scaling treat them like all others.
    fn own_gradients(&mut self, _gradients: &mut Gradients) -> Result<ParamGradients> {
        Ok(ParamGradients::new())
    }

    /// Updates the parameters that the objective itself trains, after the network's, by an optimizer of the same
    /// configuration. `gradients` are those of the step.
    fn update(
        &mut self,
        _optimizer: &OptimizerConfig,
        _gradients: &ParamGradients,
        _rates: Rates,
        _device: &Device,
    ) -> Result<()> {
        Ok(())
    }

    /// Everything that it remembers from one step to the next, for a checkpoint.
    fn state(&self) -> State {
        State::default()
    }

    /// Goes on from what [`Objective::state`] gave.
    fn restore(&mut self, state: State) -> Result<()> {
        state.expect_empty("the loss")
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

/// Cross entropy in which the images of some classes count more than those of others: PyTorch's
/// `CrossEntropyLoss(weight, label_smoothing)`.
///
/// With weights w, labels y, K classes and smoothing s, the target of image n is
/// `q(n, k) = ((1 − s)·[k = y(n)]·w(k) + s/K·w(k)) / Σₙ w(y(n))`. A batch whose labels all have weight 0 has loss 0. Mixed
/// images have the targets of both classes, weighted by their shares.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedCrossEntropy {
    smoothing: f32,
    weights: Vec<f32>,
}

impl WeightedCrossEntropy {
    /// Weighs class k by `weights[k]`, with label smoothing in `[0, 1]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a weight is negative or not finite, or if none is above 0.
    pub fn new(smoothing: f32, weights: Vec<f32>) -> Result<Self> {
        number::single("label_smoothing", smoothing.into(), Range::UpToOne)?;
        for &weight in &weights {
            number::single("class_weights", weight.into(), Range::AtLeastZero)?;
        }
        match weights.iter().any(|&weight| weight > 0.0) {
            true => Ok(Self { smoothing, weights }),
            false => Err(Error::invalid("class_weights: expected a weight above 0, found none")),
        }
    }

    /// The targets q `[N, K]` of images with these `labels`.
    fn targets(&self, labels: &[u32]) -> Result<Tensor> {
        let classes = self.weights.len();
        if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
            return Err(Error::invalid(format!(
                "class_weights: label {label} has none of {classes} weights"
            )));
        }
        let weight = |class: usize| f64::from(self.weights[class]);
        let total: f64 = labels.iter().map(|&label| weight(label as usize)).sum();
        let smoothing = f64::from(self.smoothing);
        let target = |i: usize| {
            let (label, class) = (labels[i / classes] as usize, i % classes);
            let hit = if label == class { 1.0 - smoothing } else { 0.0 };
            let share = (hit + smoothing / classes as f64) * weight(class);
            if total > 0.0 { (share / total) as f32 } else { 0.0 }
        };
        Ok(Tensor::from_fn(&[labels.len(), classes], target))
    }
}

impl Objective for WeightedCrossEntropy {
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        let mut targets = self.targets(&batch.labels)?;
        if let Some(Mixed { labels, share }) = &batch.mixed {
            let others = self.targets(labels)?;
            for (target, other) in targets.data_mut().iter_mut().zip(others.data()) {
                *target = (1.0 - share) * *target + share * other;
            }
        }
        tape.soft_cross_entropy(&pass.output, &targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

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
