//! The options of an evaluation and of a range test in a stage.

use lopper_engine::number::{self, Range};
use lopper_engine::train::RangeTest;
use lopper_engine::{Error, Result};
use lopper_models::data::Scored;
use serde::Deserialize;

/// The options of an evaluation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateConfig {
    /// The images to score; by default those of the recipe.
    pub split: Option<Scored>,
    /// Whether to report all metrics.
    pub metrics: bool,
    /// Numbers of augmented views whose predictions are averaged with that of the plain image, in increasing order.
    pub tta: Vec<u32>,
    /// The weight of the plain image in that average.
    pub beta: f64,
    /// Classes whose weighted F1 is reported, too.
    pub classes: Vec<String>,
    /// Number of images with the largest losses to report.
    pub top_losses: usize,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self { split: None, metrics: true, tta: Vec::new(), beta: 0.25, classes: Vec::new(), top_losses: 10 }
    }
}

/// The options of a range test.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RangeConfig {
    /// Learning rate of the first step.
    pub first: f64,
    /// Learning rate behind the last step.
    pub last: f64,
    /// Number of steps.
    pub steps: usize,
}

impl Default for RangeConfig {
    fn default() -> Self {
        Self { first: 1e-7, last: 10.0, steps: 100 }
    }
}

/// More views of an image than help; a larger number is a typo.
const MOST_VIEWS: u32 = 10_000;

impl EvaluateConfig {
    /// Checks the options that can be checked without images.
    pub(super) fn check(&self) -> Result<()> {
        number::single("evaluate.beta", self.beta, Range::UpToOne)?;
        let rises = self.tta.windows(2).all(|pair| pair[0] < pair[1]);
        match rises && self.tta.iter().all(|count| (1..=MOST_VIEWS).contains(count)) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "evaluate.tta: expected numbers of views from 1 to {MOST_VIEWS} in increasing order, found {:?}",
                self.tta
            ))),
        }
    }
}

impl RangeConfig {
    /// A range test with these options.
    pub fn test(self) -> Result<RangeTest> {
        let Self { first, last, steps } = self;
        RangeTest::new(first, last, steps).map_err(|e| Error::invalid(format!("lr_find: {e}")))
    }
}
