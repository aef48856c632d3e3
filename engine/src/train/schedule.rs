//! Schedules of the learning rate, and with it the momentum, over a training.

use crate::number::{self, Range};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The rates for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub learning_rate: f64,
    /// SGD's momentum or Adam's β₁, if the schedule sets it; otherwise the optimizer's value applies.
    pub momentum: Option<f64>,
}

impl Rates {
    /// Checks that both rates are in range in single precision.
    pub fn check(&self) -> Result<()> {
        number::single("learning rate of a step", self.learning_rate, Range::AtLeastZero)?;
        let momentum = |value| number::single("momentum of a step", value, Range::BelowOne).map(drop);
        self.momentum.map_or(Ok(()), momentum)
    }
}

impl From<f64> for Rates {
    /// Sets the learning rate and keeps the optimizer's momentum.
    fn from(learning_rate: f64) -> Self {
        Self { learning_rate, momentum: None }
    }
}

/// A schedule of the learning rate over a training, relative to its maximum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", from = "Table")]
pub enum Schedule {
    /// The maximum rate throughout.
    Constant,
    /// Linear warmup from 0 over the share `warmup` of the training, then half a cosine down to 0 (Loshchilov &
    /// Hutter 2017, without restarts).
    Cosine {
        /// Share of the training, in `[0, 1)`.
        warmup: f64,
    },
    /// One cycle (Smith 2018), as defined by fastai's `fit_one_cycle`: half a cosine up from `max / div` over the
    /// share `pct_start`, then half a cosine down to `max / div_final`. The momentum mirrors it: .95 → .85 → .95.
    OneCycle {
        /// Share of the training with a rising rate, in `[0, 1]`.
        pct_start: f64,
        /// Ratio of the maximum rate to the first rate.
        div: f64,
        /// Ratio of the maximum rate to the last rate.
        div_final: f64,
    },
}

/// The serialized form of a [`Schedule`]. Every variant has braces: in an internally tagged enum, serde rejects unknown
/// keys only in such variants.
#[derive(Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
enum Table {
    Constant {},
    Cosine {
        #[serde(default)]
        warmup: f64,
    },
    OneCycle {
        #[serde(default = "pct_start")]
        pct_start: f64,
        #[serde(default = "div")]
        div: f64,
        #[serde(default = "div_final")]
        div_final: f64,
    },
}

impl From<Table> for Schedule {
    fn from(table: Table) -> Self {
        match table {
            Table::Constant {} => Self::Constant,
            Table::Cosine { warmup } => Self::Cosine { warmup },
            Table::OneCycle { pct_start, div, div_final } => Self::OneCycle { pct_start, div, div_final },
        }
    }
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

/// fastai's momenta at the start, at the maximum learning rate, and at the end.
const MOMENTA: [f64; 3] = [0.95, 0.85, 0.95];

impl Schedule {
    /// One cycle with fastai's defaults: `pct_start` 0.25, `div` 25, `div_final` 10⁵.
    pub fn one_cycle() -> Self {
        Self::OneCycle { pct_start: pct_start(), div: div(), div_final: div_final() }
    }

    /// The rates at `fraction` of the training, in `[0, 1]`, for the maximum learning rate `max`.
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

    /// Checks that shares and divisors are in range.
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

    /// Checks this schedule, and that the maximum learning rate `max` and the first and last rate of one cycle are
    /// positive in single precision. (A cosine starts and ends at zero by definition.)
    pub fn check_rates(&self, max: f64) -> Result<()> {
        self.check()?;
        let check = |what: &str, rate: f64| number::single(what, rate, Range::AboveZero).map(drop);
        check("learning_rate", max)?;
        match *self {
            Self::Constant | Self::Cosine { .. } => Ok(()),
            Self::OneCycle { div, div_final, .. } => {
                check("schedule: the first learning rate, learning_rate / div", max / div)?;
                check("schedule: the last learning rate, learning_rate / div_final", max / div_final)
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    /// Values of fastai's `combined_cos(0.25, max/25, max, max/1e5)` for max = 1, and of its momentum.
    #[test]
    fn one_cycle_matches_fastai() {
        for (fraction, learning_rate, momentum) in [
            (0.0, 0.04, 0.95),
            (0.0625, 0.180_588_745_030, 0.935_355_339_059),
            (0.125, 0.52, 0.90),
            (0.25, 1.0, 0.85),
            (0.4375, 0.853_554_855_048, 0.864_644_660_941),
            (0.625, 0.500_005, 0.90),
            (1.0, 0.000_01, 0.95),
        ] {
            let rates = Schedule::one_cycle().at(1.0, fraction);
            assert!(close(rates.learning_rate, learning_rate), "{fraction}: {rates:?}");
            assert!(close(rates.momentum.unwrap(), momentum), "{fraction}: {rates:?}");
        }
        let steep = Schedule::OneCycle { pct_start: 1.0, div: 2.0, div_final: 10.0 };
        assert!(
            close(steep.at(3.0, 0.5).learning_rate, 2.25) && close(steep.at(3.0, 1.0).learning_rate, 3.0)
        );
    }

    #[test]
    fn cosine_warms_up_then_falls_to_zero() {
        let schedule = Schedule::Cosine { warmup: 0.2 };
        for (fraction, expected) in [(0.0, 0.0), (0.1, 1.0), (0.2, 2.0), (0.6, 1.0), (1.0, 0.0)] {
            assert!(close(schedule.at(2.0, fraction).learning_rate, expected), "{fraction}");
        }
        assert_eq!(Schedule::Cosine { warmup: 0.0 }.at(2.0, 0.0), 2.0.into());
        assert_eq!(Schedule::Constant.at(0.3, 0.7), 0.3.into());
    }

    #[test]
    fn recipes_name_schedules() {
        let read = |json: &str| serde_json::from_str::<Schedule>(json);
        assert_eq!(read(r#"{"name": "one_cycle"}"#).unwrap(), Schedule::one_cycle());
        assert_eq!(read(r#"{"name": "constant"}"#).unwrap(), Schedule::Constant);
        for name in ["constant", "cosine", "one_cycle"] {
            let message = read(&format!(r#"{{"name": "{name}", "pct": 0.1}}"#)).unwrap_err().to_string();
            assert!(message.contains("unknown field `pct`"), "{message}");
        }
        let schedule = Schedule::Cosine { warmup: 0.25 };
        assert_eq!(read(&serde_json::to_string(&schedule).unwrap()).unwrap(), schedule);
        assert!(Schedule::Cosine { warmup: 1.0 }.check().is_err());
        assert!(Schedule::OneCycle { pct_start: 0.3, div: 0.0, div_final: 1.0 }.check().is_err());
    }

    #[test]
    fn rates_outside_single_precision_are_rejected() {
        let huge_div = Schedule::OneCycle { pct_start: 0.25, div: 1e300, div_final: 1e5 };
        let tiny_div = Schedule::OneCycle { pct_start: 0.25, div: 25.0, div_final: 1e-300 };
        for (schedule, max, words) in [
            (Schedule::Constant, 1e39, "learning_rate: expected above 0, found 1e39, which overflows"),
            (Schedule::Constant, 0.0, "learning_rate: expected above 0, found 0"),
            (Schedule::Constant, f64::NAN, "learning_rate: expected above 0, found NaN"),
            (Schedule::Cosine { warmup: 0.0 }, 1e-50, "vanishes in single precision"),
            (Schedule::one_cycle(), 1e-36, "which vanishes in single precision"),
            (huge_div, 1e-3, "learning_rate / div: expected above 0"),
            (tiny_div, 1e-3, "learning_rate / div_final: expected above 0"),
        ] {
            let message = schedule.check_rates(max).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        for schedule in [Schedule::Constant, Schedule::Cosine { warmup: 0.5 }, Schedule::one_cycle()] {
            schedule.check_rates(1e-3).unwrap();
        }
    }
}
