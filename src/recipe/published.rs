//! Published figures of a stage.

use super::evaluate::EvaluateConfig;
use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Figures that were published for the network of a stage. Counts are exact, the others have an interval here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Published {
    /// Accuracy on the validation images, or on those of `evaluate`, in percent.
    pub top1: Option<f64>,
    /// F1 weighted by the images of each class, 0 to 1, of `evaluate`.
    pub f1_weighted: Option<f64>,
    /// The same with test-time augmentation, by the number of augmented views.
    pub f1_tta: BTreeMap<String, f64>,
    /// Number of parameters.
    pub params: Option<u64>,
    /// Number of parameters that are trained.
    pub trainable: Option<u64>,
    /// Number of parameters of each layer that has some, in order.
    pub params_by_layer: Vec<u64>,
    /// Number of filters of each convolution, in order.
    pub kept: Vec<u64>,
    /// Share of masked weights at the end of each epoch, in percent.
    pub sparsity_by_epoch: Vec<f64>,
    /// Number of training images and of images to score.
    pub images: Option<[u64; 2]>,
    /// Whether the counts must be equal. If the weights decide what stays, they are shown and not judged.
    pub exact: bool,
    /// The figures of each round of a stage that repeats, in place of those above.
    pub rounds: Vec<Published>,
    /// Number of classes that the counts are for, if they depend on it.
    pub classes: Option<usize>,
    /// A remark.
    pub note: String,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            top1: None,
            f1_weighted: None,
            f1_tta: BTreeMap::new(),
            params: None,
            trainable: None,
            params_by_layer: Vec::new(),
            kept: Vec::new(),
            sparsity_by_epoch: Vec::new(),
            images: None,
            exact: true,
            rounds: Vec::new(),
            classes: None,
            note: String::new(),
        }
    }
}

impl Published {
    /// The figures of the `round`-th round, from 1, of a stage that repeats. The remark is that of the first.
    pub fn of_round(&self, round: usize) -> Self {
        match self.rounds.is_empty() {
            true => self.clone(),
            false => {
                let own = self.rounds.get(round - 1).cloned().unwrap_or_default();
                let note = if round == 1 && own.note.is_empty() { self.note.clone() } else { own.note };
                Self { classes: own.classes.or(self.classes), note, ..own }
            }
        }
    }

    /// Checks the figures of a stage with these options.
    pub(super) fn check(&self, evaluate: Option<&EvaluateConfig>, trains: bool) -> Result<()> {
        let percent = |key: &str, value: f64| {
            number::single(format_args!("published.{key}, as a share"), value / 100.0, Range::UpToOne)
                .map(drop)
        };
        self.top1.map_or(Ok(()), |value| percent("top1", value))?;
        self.sparsity_by_epoch.iter().try_for_each(|&value| percent("sparsity_by_epoch", value))?;
        for f1 in self.f1_weighted.iter().chain(self.f1_tta.values()) {
            number::single("published F1", *f1, Range::UpToOne)?;
        }
        let refuse = |message: String| Err(Error::invalid(format!("published.{message}")));
        if self.f1_weighted.is_some() && evaluate.is_none() {
            return refuse("f1_weighted: nothing measures it; expected `evaluate` beside it".into());
        }
        // A profile may measure fewer views than were published.
        if !self.f1_tta.is_empty() && evaluate.is_none_or(|evaluate| evaluate.tta.is_empty()) {
            return refuse("f1_tta: nothing measures augmented views; expected `evaluate.tta`".into());
        }
        self.rounds.iter().try_for_each(|round| round.check(evaluate, trains))?;
        match self.sparsity_by_epoch.is_empty() || trains {
            true => Ok(()),
            false => refuse("sparsity_by_epoch: there are no epochs; expected `train` beside it".into()),
        }
    }
}
