//! What a learning rate range test found.

use lopper_engine::train::{RangeTest, Tested};
use serde::{Deserialize, Serialize};

/// What a range test found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The rate in the middle of the longest valley of the smoothed loss.
    pub valley: f64,
    /// The rate where the smoothed loss falls fastest.
    pub steepest: f64,
    /// A tenth of the rate with the lowest smoothed loss.
    pub minimum_tenth: f64,
    /// The steps.
    pub steps: Vec<TestedRate>,
}

/// A step, also as a line of a CSV file.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TestedRate {
    /// Learning rate.
    pub rate: f64,
    /// Loss of its batch.
    pub loss: f64,
    /// Loss smoothed over the steps so far.
    pub smoothed: f64,
}

impl Found {
    /// The findings of `test`, or `None` if it ended before there were steps enough for a suggestion.
    pub fn of(test: &RangeTest) -> Option<Self> {
        let line = |&Tested { rate, loss, smoothed }: &Tested| TestedRate { rate, loss, smoothed };
        let suggestions = test.suggestions()?;
        Some(Self {
            valley: suggestions.valley,
            steepest: suggestions.steepest,
            minimum_tenth: suggestions.minimum_tenth,
            steps: test.tested().iter().map(line).collect(),
        })
    }

    /// The suggestions as text.
    pub fn text(&self) -> String {
        let steps = self.steps.len();
        format!(
            "suggested learning rates after {steps} steps, with the names of fastai:\n\
             {:>10.1e}  valley: the middle of the longest valley of the smoothed loss\n\
             {:>10.1e}  steepest: where the smoothed loss falls fastest\n\
             {:>10.1e}  minimum / 10: a tenth of the rate with the lowest smoothed loss\n",
            self.valley, self.steepest, self.minimum_tenth
        )
    }
}
