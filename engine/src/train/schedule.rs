//! How the learning rate, and with it the momentum, moves over a training.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// What a schedule says for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub learning_rate: f64,
    /// SGD's momentum or Adam's β₁, where the schedule moves it; otherwise the optimizer's own.
    pub momentum: Option<f64>,
}

impl From<f64> for Rates {
    /// This learning rate and the optimizer's own momentum.
    fn from(learning_rate: f64) -> Self {
        Self { learning_rate, momentum: None }
    }
}

/// A course of the learning rate over a training, for any largest rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The largest rate throughout.
    Constant,
    /// Linear warm-up from 0 over the share `warmup` of the training, then half a cosine down to 0 (Loshchilov &
    /// Hutter 2017, without restarts).
    Cosine {
        /// Share of the training, in `[0, 1)`.
        #[serde(default)]
        warmup: f64,
    },
    /// One cycle (Smith 2018) as fastai's `fit_one_cycle` defines it: half a cosine up from `max / div` over the
    /// share `pct_start`, then half a cosine down to `max / div_final`. Momentum mirrors it: .95 → .85 → .95.
    OneCycle {
        /// Share of the training that rises, in `[0, 1]`.
        #[serde(default = "pct_start")]
        pct_start: f64,
        /// The largest rate over the first.
        #[serde(default = "div")]
        div: f64,
        /// The largest rate over the last.
        #[serde(default = "div_final")]
        div_final: f64,
    },
}

fn pct_start() -> f64 {
    0.25
}

fn div() -> f64 {
    25.0
}

fn div_final() -> f64 {
    1e5
}

/// fastai's momenta: at the start, at the largest learning rate, at the end.
const MOMENTA: [f64; 3] = [0.95, 0.85, 0.95];

impl Schedule {
    /// One cycle with fastai's defaults: `pct_start` 0.25, `div` 25, `div_final` 10⁵.
    pub fn one_cycle() -> Self {
        Self::OneCycle { pct_start: pct_start(), div: div(), div_final: div_final() }
    }

    /// The rates at `fraction` of the training, in `[0, 1]`, for the largest learning rate `max`.
    pub fn at(&self, max: f64, fraction: f64) -> Rates {
        let momentum = match *self {
            Self::OneCycle { pct_start, .. } => Some(two_phases(fraction, pct_start, MOMENTA)),
            Self::Constant | Self::Cosine { .. } => None,
        };
        let learning_rate = match *self {
            Self::Constant => max,
            Self::Cosine { warmup } if fraction < warmup => max * fraction / warmup,
            Self::Cosine { warmup } => half_cosine(max, 0.0, (fraction - warmup) / (1.0 - warmup)),
            Self::OneCycle { pct_start, div, div_final } => {
                two_phases(fraction, pct_start, [max / div, max, max / div_final])
            }
        };
        Rates { learning_rate, momentum }
    }

    /// An error where a share or divisor makes no sense.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Constant => Ok(()),
            Self::Cosine { warmup } if (0.0..1.0).contains(&warmup) => Ok(()),
            Self::Cosine { warmup } => {
                Err(Error::invalid(format!("schedule: expected a warmup in [0, 1), found {warmup}")))
            }
            Self::OneCycle { pct_start, .. } if !(0.0..=1.0).contains(&pct_start) => {
                Err(Error::invalid(format!("schedule: expected a pct_start in [0, 1], found {pct_start}")))
            }
            Self::OneCycle { div, div_final, .. } if div > 0.0 && div_final > 0.0 => Ok(()),
            Self::OneCycle { div, div_final, .. } => Err(Error::invalid(format!(
                "schedule: expected a div and a div_final above 0, found {div} and {div_final}"
            ))),
        }
    }
}

/// Half a cosine from `start` at 0 to `end` at 1.
fn half_cosine(start: f64, end: f64, at: f64) -> f64 {
    start + (1.0 + (PI * (1.0 - at)).cos()) * (end - start) / 2.0
}

/// Half a cosine from the first level to the second until `split`, then one from the second to the third.
fn two_phases(fraction: f64, split: f64, [first, second, third]: [f64; 3]) -> f64 {
    if fraction < split {
        half_cosine(first, second, fraction / split)
    } else {
        let rest = (1.0 - split).max(f64::MIN_POSITIVE);
        half_cosine(second, third, (fraction - split) / rest)
    }
}
