//! Classification accuracy.

use super::interval::wilson95;
use super::outcome::Outcome;
use crate::Tensor;
use serde::{Deserialize, Serialize};

/// How many images were classified correctly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Images whose class has the largest logit, or one of the k largest.
    pub correct: usize,
    /// Number of images.
    pub total: usize,
}

impl Accuracy {
    /// The accuracy of `logits` `[N, K]` for `labels`. Ties go to the first logit; a row with a NaN counts as wrong.
    pub fn of(logits: &Tensor, labels: &[u32]) -> Self {
        let k = logits.len() / labels.len().max(1);
        let rows = logits.data().chunks_exact(k.max(1)).zip(labels);
        let correct =
            rows.filter(|&(row, &label)| (label as usize) < k && Outcome::of_logits(row, label).is_among(1));
        let correct = correct.count();
        Self { correct, total: labels.len() }
    }

    /// The share of correct images, in `[0, 1]`; 0 if there are none.
    pub fn top1(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }

    /// The 95 % score interval of the accuracy (Wilson 1927), which stays inside `[0, 1]` and holds for few images
    /// and for accuracies near 1. `(0, 1)` if there are no images.
    pub fn wilson95(&self) -> (f64, f64) {
        wilson95(self.top1(), self.total as f64)
    }
}

impl std::ops::AddAssign for Accuracy {
    fn add_assign(&mut self, other: Self) {
        self.correct += other.correct;
        self.total += other.total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_logit_wins_and_nan_is_wrong() {
        let logits =
            Tensor::from_vec(&[4, 2], vec![1.0, 2.0, 3.0, 3.0, f32::NAN, 0.0, 0.0, f32::NAN]).unwrap();
        assert_eq!(Accuracy::of(&logits, &[1, 0, 0, 0]), Accuracy { correct: 2, total: 4 });
        assert_eq!(Accuracy::default().wilson95(), (0.0, 1.0));
    }
}
