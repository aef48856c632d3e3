//! Classification accuracy, and the metrics of an epoch.

use super::Logits;
use crate::autograd::tape::Tape;
use crate::train::data::Batches;
use crate::{Device, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// How many images were classified correctly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Images whose class has the largest logit.
    pub correct: usize,
    /// Number of images.
    pub total: usize,
}

impl Accuracy {
    /// The accuracy of `logits` `[N, K]` for `labels`. Ties go to the first logit; a row with a NaN counts as wrong.
    pub fn of(logits: &Tensor, labels: &[u32]) -> Self {
        let k = logits.len() / labels.len().max(1);
        let hit = |(row, &label): (&[f32], &u32)| {
            let best = (0..k).fold(0, |best, i| if row[i] > row[best] { i } else { best });
            best == label as usize && !row.iter().any(|x| x.is_nan())
        };
        let correct = logits.data().chunks_exact(k.max(1)).zip(labels).filter(|&pair| hit(pair)).count();
        Self { correct, total: labels.len() }
    }

    /// The share of correct images, in `[0, 1]`; 0 if there are none.
    pub fn top1(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }

    /// The 95 % score interval of the accuracy (Wilson 1927), which stays inside `[0, 1]` and holds for few images
    /// and for accuracies near 1. `(0, 1)` if there are no images.
    pub fn wilson95(&self) -> (f64, f64) {
        const Z: f64 = 1.959_963_984_540_054; // the normal distribution's 97.5 % quantile
        if self.total == 0 {
            return (0.0, 1.0);
        }
        let (p, n) = (self.top1(), self.total as f64);
        let center = p + Z * Z / (2.0 * n);
        let margin = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        (((center - margin) / scale).max(0.0), ((center + margin) / scale).min(1.0))
    }
}

impl std::ops::AddAssign for Accuracy {
    fn add_assign(&mut self, other: Self) {
        self.correct += other.correct;
        self.total += other.total;
    }
}

/// The metrics of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Total number of epochs.
    pub epochs: usize,
    /// Mean of the training objective over the epoch's images.
    pub train_loss: f64,
    /// Mean cross entropy (only the task loss) over the validation images, if there are any.
    pub val_loss: Option<f64>,
    /// Accuracy on the validation images, if there are any.
    pub val: Option<Accuracy>,
    /// Training time in seconds, without validation.
    pub seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
}

/// The result of evaluating a network on a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The accuracy.
    pub accuracy: Accuracy,
    /// Mean cross entropy.
    pub loss: f64,
}

/// The accuracy and loss of `network` on the first epoch of `data`.
pub fn evaluate(mut network: impl Logits, data: &mut dyn Batches, device: &Device) -> Result<Evaluation> {
    let (mut accuracy, mut loss) = (Accuracy::default(), 0.0);
    let mut largest = 0;
    for batch in data.epoch(0)? {
        let batch = batch?;
        // The first batch is the largest: the memory is checked once.
        if let &[n, h, w, c] = batch.images.shape()
            && n > largest
        {
            network.require([n, h, w, c], device)?;
            largest = n;
        }
        let logits = network.logits(batch.images, device)?;
        accuracy += Accuracy::of(&logits, &batch.labels);
        let mut tape = Tape::no_grad(device);
        let logits = tape.constant(logits);
        let mean = tape.cross_entropy(&logits, &batch.labels, 0.0)?.value().item()?;
        loss += f64::from(mean) * batch.labels.len() as f64;
    }
    match accuracy.total {
        0 => Err(Error::invalid("evaluation: the data set has no images")),
        total => Ok(Evaluation { accuracy, loss: loss / total as f64 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Intervals from R's `binom::binom.confint(x, n, methods = "wilson")`.
    #[test]
    fn wilson_intervals() {
        for (correct, total, low, high) in
            [(0, 10, 0.0, 0.277_533), (5, 10, 0.236_593, 0.763_407), (10, 10, 0.722_467, 1.0)]
        {
            let (l, h) = Accuracy { correct, total }.wilson95();
            assert!((l - low).abs() < 1e-6 && (h - high).abs() < 1e-6, "{correct} of {total}: {l}..{h}");
        }
        assert_eq!(Accuracy::default().wilson95(), (0.0, 1.0));
    }

    #[test]
    fn the_largest_logit_wins_and_nan_is_wrong() {
        let logits =
            Tensor::from_vec(&[4, 2], vec![1.0, 2.0, 3.0, 3.0, f32::NAN, 0.0, 0.0, f32::NAN]).unwrap();
        assert_eq!(Accuracy::of(&logits, &[1, 0, 0, 0]), Accuracy { correct: 2, total: 4 });
    }
}
