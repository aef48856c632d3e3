//! The outcomes of a data set, and the metrics that derive from them.

use super::{Accuracy, Calibration, Confusion, Outcome};

/// The outcomes of all images of a data set, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    classes: usize,
    outcomes: Vec<Outcome>,
}

impl Scores {
    /// Collects `outcomes` of a network with `classes` classes.
    pub fn new(classes: usize, outcomes: Vec<Outcome>) -> Self {
        Self { classes, outcomes }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The outcome of each image.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The share of images whose label is among the `k` largest logits.
    pub fn top(&self, k: u32) -> Accuracy {
        let correct = self.outcomes.iter().filter(|outcome| outcome.is_among(k)).count();
        Accuracy { correct, total: self.outcomes.len() }
    }

    /// Mean cross entropy; NaN if there are no images or a logit is NaN.
    pub fn loss(&self) -> f64 {
        self.outcomes.iter().map(|outcome| outcome.loss).sum::<f64>() / self.outcomes.len() as f64
    }

    /// The counts of labels and predictions.
    pub fn confusion(&self) -> Confusion {
        Confusion::of(self.classes, &self.outcomes)
    }

    /// How well confidences agree with accuracies, in `bins` bins.
    pub fn calibration(&self, bins: usize) -> Calibration {
        Calibration::of(&self.outcomes, bins)
    }

    /// The positions of the `count` images with the largest loss, the largest first. A loss that is not a number comes
    /// before all others, and the first of equal ones first.
    pub fn top_losses(&self, count: usize) -> Vec<usize> {
        let loss = |i: usize| match self.outcomes[i].loss {
            loss if loss.is_nan() => f64::INFINITY,
            loss => loss,
        };
        let mut order: Vec<usize> = (0..self.outcomes.len()).collect();
        // Stable: the first of equal ones stays first.
        order.sort_by(|&a, &b| loss(b).total_cmp(&loss(a)));
        order.truncate(count);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_losses_come_in_order() {
        let with_loss = |loss| Outcome { label: 0, predicted: Some(0), rank: Some(0), confidence: 1.0, loss };
        let scores = Scores::new(1, [0.5, f64::NAN, 2.0, 0.1, 2.0].map(with_loss).to_vec());
        assert_eq!(scores.top_losses(3), [1, 2, 4]);
        assert_eq!(scores.top_losses(9), [1, 2, 4, 0, 3]);
        assert!(scores.loss().is_nan() && Scores::new(1, Vec::new()).loss().is_nan());
    }

    #[test]
    fn top_k_counts_ranks() {
        let rows = [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 3.0, 1.0], [f32::NAN, 0.0, 0.0]];
        let scores = Scores::new(3, rows.map(|row| Outcome::of_logits(&row, 0)).to_vec());
        assert_eq!([1, 2, 3].map(|k| scores.top(k).correct), [1, 2, 3]);
        assert_eq!(scores.top(3).total, 4);
    }
}
