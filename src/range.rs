//! Learning rate range tests: running one, and what it found.

use crate::findings::{Found, TestedRate};
use crate::plots::{Curve, Curves};
use crate::training::Stoppable;
use lopper_engine::data::Batches;
use lopper_engine::train::{Objective, Optimizer, RangeTest, Schedule, Trainer};
use lopper_engine::{Device, Error, Graph, Result};

/// Steps at the end that suggestions leave out, and that do not decide the range of the picture.
const LAST_STEPS: usize = 5;

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

/// The losses to show: around the smoothed ones up to the last steps, whose losses may be many times as large.
fn range(found: &Found) -> Option<(f64, f64)> {
    let shown = found.steps.len().checked_sub(LAST_STEPS).filter(|&shown| shown > 1)?;
    let smoothed = found.steps[..shown].iter().map(|step| step.smoothed);
    let (low, high) = (smoothed.clone().fold(f64::NAN, f64::min), smoothed.fold(f64::NAN, f64::max));
    let margin = 0.5 * (high - low);
    (margin > 0.0 && margin.is_finite()).then_some((low - 2.0 * margin, high + margin))
}

/// The picture of the losses by rate.
pub fn svg(found: &Found) -> Result<String> {
    let curve = |name: &str, loss: fn(&TestedRate) -> f64| Curve {
        name: name.into(),
        points: found.steps.iter().map(|step| (step.rate, loss(step))).collect(),
        intervals: Vec::new(),
    };
    let marks =
        [("valley", found.valley), ("steepest", found.steepest), ("minimum / 10", found.minimum_tenth)];
    Curves {
        title: "Learning rate range test",
        x: "learning rate",
        y: "loss",
        logarithmic: true,
        range: range(found),
        curves: vec![curve("loss", |step| step.loss), curve("smoothed loss", |step| step.smoothed)],
        marks: marks.map(|(name, rate)| (format!("{name}: {rate:.1e}"), rate)).to_vec(),
    }
    .svg()
}
