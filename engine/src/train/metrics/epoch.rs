//! The metrics of an epoch.

use super::{Accuracy, LayerSparsity, Pruned, Scores};
use crate::train::{GroupRate, LossParts};
use serde::{Deserialize, Serialize};

/// The metrics of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Total number of epochs.
    pub epochs: usize,
    /// Mean of the training objective over the epoch's images.
    pub train_loss: f64,
    /// Means of the parts of the training objective over the epoch's images, if it has parts that are logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<LossParts>,
    /// Mean cross entropy (only the task loss) over the validation images, if there are any.
    pub val_loss: Option<f64>,
    /// Accuracy on the validation images, if there are any.
    pub val: Option<Accuracy>,
    /// The same for the five largest logits, if there are more than five classes.
    #[serde(default)]
    pub val_top5: Option<Accuracy>,
    /// Mean F1 of the classes over the validation images; see [`super::Confusion::macro_f1`].
    #[serde(default)]
    pub macro_f1: Option<f64>,
    /// Mean F1, weighted by the images of each class.
    #[serde(default)]
    pub weighted_f1: Option<f64>,
    /// Training time in seconds, without validation.
    pub seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// The learning rates of the last step for groups of parameters that have their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_rates: Vec<GroupRate>,
    /// The share of masked weights of each layer at the end of the epoch; empty if there is no mask.
    #[serde(default)]
    pub sparsity: Vec<LayerSparsity>,
    /// The channels that the training has removed, if it removes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// What callbacks have to say about the epoch, such as warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Largest memory that the process has held so far, in bytes, if the system reports it.
    #[serde(default)]
    pub peak_memory: Option<u64>,
}

impl EpochMetrics {
    /// The epoch as people count, from 1.
    pub fn number(&self) -> usize {
        // The epoch of a damaged file may be any number.
        self.epoch.saturating_add(1)
    }

    /// The metrics of `epoch`, from 0, of `epochs`, before anything is measured.
    pub fn unvalidated(epoch: usize, epochs: usize) -> Self {
        Self {
            epoch,
            epochs,
            train_loss: 0.0,
            parts: None,
            val_loss: None,
            val: None,
            val_top5: None,
            macro_f1: None,
            weighted_f1: None,
            seconds: 0.0,
            images_per_second: 0.0,
            learning_rate: 0.0,
            group_rates: Vec::new(),
            sparsity: Vec::new(),
            pruned: None,
            notes: Vec::new(),
            peak_memory: None,
        }
    }

    /// Adds the metrics of `scores`, those of the validation images.
    pub fn set_validation(&mut self, scores: &Scores) {
        let confusion = scores.confusion();
        self.val_loss = Some(scores.loss());
        self.val = Some(scores.top(1));
        self.val_top5 = (scores.classes() > 5).then(|| scores.top(5));
        self.macro_f1 = confusion.macro_f1().map(|f1| f1.value);
        self.weighted_f1 = confusion.weighted_f1().map(|f1| f1.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_counted_from_one_to_the_largest_number() {
        let [first, last] = [0, usize::MAX].map(|epoch| EpochMetrics::unvalidated(epoch, 4).number());
        assert_eq!((first, last), (1, usize::MAX));
    }
}
