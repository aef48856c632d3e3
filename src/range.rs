//! Learning rate range tests: running one, and what it found.

use crate::plots::{Curve, Curves};
use crate::training::Stoppable;
use lopper_engine::data::Batches;
use lopper_engine::train::{Objective, Optimizer, RangeTest, Schedule, Tested, Trainer};
use lopper_engine::{Device, Error, Graph, Result};
use serde::{Deserialize, Serialize};

/// Steps at the end that suggestions leave out, and that do not decide the range of the picture.
const LAST_STEPS: usize = 5;

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
    pub steps: Vec<Line>,
}

/// A step, also as a line of a CSV file.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Learning rate.
    pub rate: f64,
    /// Loss of its batch.
    pub loss: f64,
    /// Loss smoothed over the steps so far.
    pub smoothed: f64,
}

/// How the copy of a network is trained in a range test.
pub struct RangeRun<'a> {
    /// Its optimizer.
    pub optimizer: Optimizer,
    /// Loss to minimize.
    pub objective: &'a mut dyn Objective,
    /// Seed of dropout.
    pub seed: u64,
    /// Device to compute on.
    pub device: &'a Device,
}

impl RangeRun<'_> {
    /// Runs `test` on `graph` with the images of `data`.
    pub fn test(
        mut self,
        mut test: RangeTest,
        mut graph: Graph,
        data: &mut dyn Batches,
    ) -> Result<RangeTest> {
        let trainer = Trainer {
            device: self.device,
            optimizer: &mut self.optimizer,
            // The test sets the rate of every step.
            schedule: Schedule::Constant,
            learning_rate: 1.0,
            epochs: test.steps().div_ceil(data.len().max(1)),
            seed: self.seed,
            objective: self.objective,
            callbacks: vec![&mut test],
            reduce: None,
        };
        match trainer.fit(&mut graph, &mut Stoppable(data), None) {
            // Rates so large that a loss or a weight overflows end the test too.
            Ok(_) | Err(Error::Diverged { .. } | Error::NotFinite { .. }) => Ok(test),
            Err(error) => Err(error),
        }
    }
}

impl Found {
    /// The findings of `test`, or `None` if it ended before there were steps enough for a suggestion.
    pub fn of(test: &RangeTest) -> Option<Self> {
        let line = |&Tested { rate, loss, smoothed }: &Tested| Line { rate, loss, smoothed };
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

    /// The losses to show: around the smoothed ones up to the last steps, whose losses may be many times as large.
    fn range(&self) -> Option<(f64, f64)> {
        let shown = self.steps.len().checked_sub(LAST_STEPS).filter(|&shown| shown > 1)?;
        let smoothed = self.steps[..shown].iter().map(|step| step.smoothed);
        let (low, high) = (smoothed.clone().fold(f64::NAN, f64::min), smoothed.fold(f64::NAN, f64::max));
        let margin = 0.5 * (high - low);
        (margin > 0.0 && margin.is_finite()).then_some((low - 2.0 * margin, high + margin))
    }

    /// The picture of the losses by rate.
    pub fn svg(&self) -> Result<String> {
        let curve = |name: &str, loss: fn(&Line) -> f64| Curve {
            name: name.into(),
            points: self.steps.iter().map(|step| (step.rate, loss(step))).collect(),
            intervals: Vec::new(),
        };
        let marks =
            [("valley", self.valley), ("steepest", self.steepest), ("minimum / 10", self.minimum_tenth)];
        Curves {
            title: "Learning rate range test",
            x: "learning rate",
            y: "loss",
            logarithmic: true,
            range: self.range(),
            curves: vec![curve("loss", |step| step.loss), curve("smoothed loss", |step| step.smoothed)],
            marks: marks.map(|(name, rate)| (format!("{name}: {rate:.1e}"), rate)).to_vec(),
        }
        .svg()
    }
}
