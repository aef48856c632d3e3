//! The formulas of the schedules.

use super::{Interpolation, Schedule};
use crate::About;

impl Schedule {
    /// One schedule of each kind with its name and its default parameters, in the order in which they are listed.
    pub fn all() -> Vec<(&'static str, Self)> {
        vec![
            ("constant", Self::Constant),
            ("cosine", Self::Cosine { warmup: 0.0 }),
            ("one_cycle", Self::one_cycle()),
            ("exponential", Self::Exponential { end: 0.01 }),
            ("polynomial", Self::Polynomial { end: 0.0, power: 1.0 }),
            ("step", Self::Step { factor: 0.1, at: vec![0.5, 0.75] }),
            ("warm_restarts", Self::WarmRestarts { cycles: 3, growth: 2.0, end: 0.0 }),
            (
                "piecewise",
                Self::Piecewise {
                    points: vec![[0.0, 0.0], [0.25, 1.0], [1.0, 0.0]],
                    between: Interpolation::default(),
                },
            ),
        ]
    }

    /// The rate relative to the maximum at the share t of the training, and where it is from.
    pub const fn about(&self) -> About {
        match self {
            Self::Constant => About::common("1"),
            Self::Cosine { .. } => About::new(
                "t / warmup, then (1 + cos πu) / 2, u the share of the rest",
                "Loshchilov & Hutter 2017, SGDR: stochastic gradient descent with warm restarts",
            ),
            Self::OneCycle { .. } => About::new(
                "half a cosine from 1 / div to 1 over pct_start, then down to 1 / div_final",
                "Smith 2018, A disciplined approach to neural network hyper-parameters: part 1",
            ),
            Self::Exponential { .. } => About::common("end^t"),
            Self::Polynomial { .. } => About::new(
                "end + (1 − end)·(1 − t)^power",
                "Chen et al. 2018, DeepLab: semantic image segmentation with deep convolutional nets",
            ),
            Self::Step { .. } => About::new(
                "factor^k behind the first k shares of `at`",
                "He et al. 2016, Deep residual learning for image recognition",
            ),
            Self::WarmRestarts { .. } => About::new(
                "end + (1 − end)·(1 + cos πu) / 2, u the share of the cycle",
                "Loshchilov & Hutter 2017, SGDR: stochastic gradient descent with warm restarts",
            ),
            Self::Piecewise { .. } => About::common("a table of shares and factors, and values in between"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// serde's error for an unknown name lists all of them.
    #[test]
    fn every_schedule_is_listed_with_its_defaults() {
        let error = serde_json::from_str::<Schedule>(r#"{"name": "-"}"#).unwrap_err().to_string();
        let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        let listed: Vec<&str> = Schedule::all().iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, known, "{error}");
        for (name, schedule) in Schedule::all() {
            assert_eq!(serde_json::to_value(&schedule).unwrap()["name"], name);
            schedule.check().unwrap();
            // A table of points has no default.
            if name != "piecewise" {
                let default: Schedule = serde_json::from_str(&format!(r#"{{"name": "{name}"}}"#)).unwrap();
                assert_eq!(schedule, default);
            }
        }
    }
}
