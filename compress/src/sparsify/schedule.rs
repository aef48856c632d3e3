//! Schedules: how much of the final sparsity is in force at each moment of training. Pure functions of time.

use engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How sparsity grows: a curve over a window of the training. `0 ≤ start ≤ end ≤ 1` are fractions of the whole
/// training; nothing is dropped before `start`, and from `end` on the sparsity is the final one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// The shape of the growth.
    pub curve: Curve,
    /// Where it begins.
    pub start: f64,
    /// Where it is complete.
    pub end: f64,
}

/// The share of the final sparsity as a function of the time `x ∈ [0, 1]` within the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// 1: everything at once, at the window's start.
    OneShot,
    /// `⌈x·steps⌉ / steps`: equal parts, the first right after the window's start.
    Iterative {
        /// How many.
        steps: usize,
    },
    /// `x`.
    Linear,
    /// `(1 − cos πx) / 2`: slow, fast, slow.
    #[default]
    Cosine,
    /// `1 − (1 − x)³`: fast while much is redundant, then slow (Zhu & Gupta 2017, equation 1).
    Gradual,
}

impl Default for Schedule {
    /// Cosine, over the whole training.
    fn default() -> Self {
        Curve::default().into()
    }
}

impl From<Curve> for Schedule {
    /// `curve` over the whole training.
    fn from(curve: Curve) -> Self {
        Self { curve, start: 0.0, end: 1.0 }
    }
}

impl Schedule {
    /// The share of the final sparsity, in 0..=1, at `fraction` of the training.
    pub fn share(&self, fraction: f64) -> f64 {
        match fraction {
            f if f < self.start => 0.0,
            f if f >= self.end => 1.0,
            f => self.curve.share((f - self.start) / (self.end - self.start)),
        }
    }

    /// An error that names the option where the window or the curve makes no sense.
    pub fn check(&self) -> Result<()> {
        let Self { curve, start, end } = *self;
        if !(0.0 <= start && start <= end && end <= 1.0) {
            return Err(Error::invalid(format!(
                "sparsity schedule: expected 0 ≤ start ≤ end ≤ 1, found start {start}, end {end}"
            )));
        }
        match curve {
            Curve::Iterative { steps: 0 } => {
                Err(Error::invalid("sparsity schedule: iterative needs at least 1 step, found 0"))
            }
            _ => Ok(()),
        }
    }
}

impl Curve {
    /// The share at `x ∈ [0, 1]`.
    pub fn share(self, x: f64) -> f64 {
        match self {
            Self::OneShot => 1.0,
            Self::Iterative { steps } => {
                let n = steps as f64;
                // A hair less, so that rounding in x·n does not begin the next part early.
                ((x * n - 1e-9).ceil() / n).clamp(0.0, 1.0)
            }
            Self::Linear => x,
            Self::Cosine => (1.0 - (PI * x).cos()) / 2.0,
            Self::Gradual => 1.0 - (1.0 - x).powi(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn curves() -> impl Strategy<Value = Curve> {
        prop_oneof![
            Just(Curve::OneShot),
            (1usize..20).prop_map(|steps| Curve::Iterative { steps }),
            Just(Curve::Linear),
            Just(Curve::Cosine),
            Just(Curve::Gradual),
        ]
    }

    /// In percent of a final 50 %, at the end of each epoch, as published for VGG16 on Imagenette.
    #[test]
    fn cosine_gives_the_published_sparsities() {
        let by_epoch = |epochs: usize| -> Vec<String> {
            let schedule = Schedule::default();
            (1..=epochs).map(|e| format!("{:.2}", 50.0 * schedule.share(e as f64 / epochs as f64))).collect()
        };
        let ten = ["1.22", "4.77", "10.31", "17.27", "25.00", "32.73", "39.69", "45.23", "48.78", "50.00"];
        assert_eq!(by_epoch(10), ten);
        assert_eq!(by_epoch(5), ["4.77", "17.27", "32.73", "45.23", "50.00"]);
    }

    #[test]
    fn gradual_is_the_cubic_of_its_paper() {
        // s_t = s_f + (s_i − s_f)(1 − (t − t0)/(nΔt))³ with s_i = 0, s_f = 0.8, halfway: 0.8 − 0.8/8.
        let window = Schedule { curve: Curve::Gradual, start: 0.2, end: 0.6 };
        assert!((0.8 * window.share(0.4) - 0.7).abs() < 1e-12);
    }

    #[test]
    fn iterative_takes_equal_parts() {
        let schedule = Schedule::from(Curve::Iterative { steps: 4 });
        let shares: Vec<f64> = (0..=8).map(|i| schedule.share(f64::from(i) / 8.0)).collect();
        assert_eq!(shares, [0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]);
    }

    #[test]
    fn one_shot_waits_for_its_moment() {
        let schedule = Schedule { curve: Curve::OneShot, start: 0.3, end: 1.0 };
        assert_eq!((schedule.share(0.29), schedule.share(0.3)), (0.0, 1.0));
    }

    #[test]
    fn senseless_windows_are_refused() {
        let with = |start, end| Schedule { curve: Curve::Linear, start, end }.check();
        assert!(with(0.0, 1.0).is_ok() && with(0.5, 0.5).is_ok());
        for (start, end) in [(-0.1, 1.0), (0.0, 1.1), (0.6, 0.5), (f64::NAN, 1.0), (0.0, f64::NAN)] {
            assert!(with(start, end).is_err(), "{start}..{end}");
        }
        assert!(Schedule::from(Curve::Iterative { steps: 0 }).check().is_err());
    }

    proptest! {
        #[test]
        fn every_schedule_rises_from_its_start_to_one(
            curve in curves(), start in 0.0..=1.0f64, length in 0.0..=1.0f64, a in 0.0..=1.0f64, b in 0.0..=1.0f64,
        ) {
            let schedule = Schedule { curve, start, end: (start + length * (1.0 - start)).min(1.0) };
            schedule.check().unwrap();
            let (early, late) = (schedule.share(a.min(b)), schedule.share(a.max(b)));
            prop_assert!(0.0 <= early && early <= late && late <= 1.0, "{early} {late}");
            prop_assert_eq!(schedule.share(1.0), 1.0);
            if start > 0.0 {
                prop_assert_eq!(schedule.share(start * 0.999), 0.0);
            }
            if curve != Curve::OneShot && schedule.start < schedule.end {
                prop_assert_eq!(schedule.share(start), 0.0);
            }
        }
    }
}
