//! Schedules of the learning rate, and with it the momentum, over a training.

mod about;
mod curve;
mod rates;
mod table;

use crate::number::{self, Range};
use crate::{Error, Result};
use curve::{half_cosine, piecewise, two_phases, warm_restarts};
use serde::{Deserialize, Serialize};
use table::{Table, div, div_final, pct_start};

pub use curve::Interpolation;
pub use rates::Rates;

/// A schedule of the learning rate over a training, relative to its maximum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Exponential decay, `max · endᵗ` at the share t of the training.
    Exponential {
        /// Ratio of the last rate to the maximum, in `(0, 1]`.
        end: f64,
    },
    /// Polynomial decay, `max · (end + (1 − end)·(1 − t)^power)` (Chen et al. 2018's "poly"; linear for power 1).
    Polynomial {
        /// Ratio of the last rate to the maximum, in `[0, 1]`.
        end: f64,
        /// The power, above 0.
        power: f64,
    },
    /// The maximum rate, multiplied by `factor` at each share in `at` (He et al. 2016).
    Step {
        /// The factor, in `(0, 1]`.
        factor: f64,
        /// Increasing shares of the training, in `(0, 1)`.
        at: Vec<f64>,
    },
    /// Half cosines down to `max · end`, each from the maximum (Loshchilov & Hutter 2017).
    WarmRestarts {
        /// Number of cycles, 1 to 100.
        cycles: u32,
        /// Ratio of a cycle's length to that of the one before, in `[0.1, 10]`.
        growth: f64,
        /// Ratio of the last rate of a cycle to the maximum, in `[0, 1]`.
        end: f64,
    },
    /// A table of shares of the training with factors of the maximum rate, and values in between.
    Piecewise {
        /// `[share, factor]`: increasing shares in `[0, 1]`, factors in `[0, 1]`. Before the first and behind the last,
        /// their factors hold.
        points: Vec<[f64; 2]>,
        /// How factors change in between.
        between: Interpolation,
    },
}

impl From<Table> for Schedule {
    fn from(table: Table) -> Self {
        match table {
            Table::Constant {} => Self::Constant,
            Table::Cosine { warmup } => Self::Cosine { warmup },
            Table::OneCycle { pct_start, div, div_final } => Self::OneCycle { pct_start, div, div_final },
            Table::Exponential { end } => Self::Exponential { end },
            Table::Polynomial { end, power } => Self::Polynomial { end, power },
            Table::Step { factor, at } => Self::Step { factor, at },
            Table::WarmRestarts { cycles, growth, end } => Self::WarmRestarts { cycles, growth, end },
            Table::Piecewise { points, between } => Self::Piecewise { points, between },
        }
    }
}

/// fastai's momenta at the start, at the maximum learning rate, and at the end.
const MOMENTA: [f64; 3] = [0.95, 0.85, 0.95];

/// Most points of a table; more are a typo.
const MOST: usize = 1000;

impl Schedule {
    /// One cycle with fastai's defaults: `pct_start` 0.25, `div` 25, `div_final` 10⁵.
    pub fn one_cycle() -> Self {
        Self::OneCycle { pct_start: pct_start(), div: div(), div_final: div_final() }
    }

    /// The rates at `fraction` of the training, in `[0, 1]`, for the maximum learning rate `max`.
    pub fn at(&self, max: f64, fraction: f64) -> Rates {
        let momentum = match *self {
            Self::OneCycle { pct_start, .. } => Some(two_phases(fraction, pct_start, MOMENTA)),
            _ => None,
        };
        let learning_rate = match self {
            Self::Constant => max,
            Self::Cosine { warmup } if fraction < *warmup => max * fraction / warmup,
            Self::Cosine { warmup } => half_cosine(max, 0.0, (fraction - warmup) / (1.0 - warmup)),
            Self::OneCycle { pct_start, div, div_final } => {
                two_phases(fraction, *pct_start, [max / div, max, max / div_final])
            }
            Self::Exponential { end } => max * end.powf(fraction),
            Self::Polynomial { end, power } => max * (end + (1.0 - end) * (1.0 - fraction).powf(*power)),
            Self::Step { factor, at } => {
                let drops = at.iter().filter(|&&share| share <= fraction).count();
                max * factor.powi(drops as i32)
            }
            Self::WarmRestarts { cycles, growth, end } => {
                half_cosine(max, max * end, warm_restarts(*cycles, *growth, fraction))
            }
            Self::Piecewise { points, between } => max * piecewise(points, *between, fraction),
        };
        Rates { learning_rate, momentum }
    }

    /// Checks that shares and divisors are in range.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Constant => Ok(()),
            Self::Cosine { warmup } => expect("a warmup in [0, 1)", *warmup, (0.0..1.0).contains(warmup)),
            Self::OneCycle { pct_start, .. } if !(0.0..=1.0).contains(pct_start) => {
                expect("a pct_start in [0, 1]", *pct_start, false)
            }
            Self::OneCycle { div, div_final, .. } if *div > 0.0 && *div_final > 0.0 => Ok(()),
            Self::OneCycle { div, div_final, .. } => {
                refuse(format!("a div and a div_final above 0, found {div} and {div_final}"))
            }
            Self::Exponential { end } => expect("an end in (0, 1]", *end, *end > 0.0 && *end <= 1.0),
            Self::Polynomial { end, power } => expect("an end in [0, 1]", *end, (0.0..=1.0).contains(end))
                .and(expect("a power above 0", *power, *power > 0.0 && power.is_finite())),
            Self::Step { factor, at } => {
                expect("a factor in (0, 1]", *factor, *factor > 0.0 && *factor <= 1.0)?;
                let inside = at.iter().all(|share| *share > 0.0 && *share < 1.0);
                match inside && at.is_sorted_by(|a, b| a < b) && at.len() <= MOST {
                    true => Ok(()),
                    false => refuse(format!("increasing shares in (0, 1) in `at`, found {at:?}")),
                }
            }
            Self::WarmRestarts { cycles, growth, end } => {
                expect("1 to 100 cycles", f64::from(*cycles), (1..=100).contains(cycles))?;
                expect("a growth in [0.1, 10]", *growth, (0.1..=10.0).contains(growth))?;
                expect("an end in [0, 1]", *end, (0.0..=1.0).contains(end))
            }
            Self::Piecewise { points, .. } => {
                let shares = points.iter().all(|point| point.iter().all(|v| (0.0..=1.0).contains(v)));
                let sorted = points.is_sorted_by(|a, b| a[0] < b[0]);
                match shares && sorted && (1..=MOST).contains(&points.len()) {
                    true => Ok(()),
                    false => refuse(format!(
                        "points [share, factor] with increasing shares in [0, 1] and factors in [0, 1], found {points:?}"
                    )),
                }
            }
        }
    }

    /// Checks this schedule, and that the maximum learning rate `max` and the first and last rate of one cycle and of an
    /// exponential are positive in single precision. (A cosine starts and ends at zero by definition.)
    pub fn check_rates(&self, max: f64) -> Result<()> {
        self.check()?;
        let check = |what: &str, rate: f64| number::single(what, rate, Range::AboveZero).map(drop);
        check("learning_rate", max)?;
        match self {
            Self::OneCycle { div, div_final, .. } => {
                check("schedule: the first learning rate, learning_rate / div", max / div)?;
                check("schedule: the last learning rate, learning_rate / div_final", max / div_final)
            }
            Self::Exponential { end } => {
                check("schedule: the last learning rate, learning_rate · end", max * end)
            }
            Self::Step { factor, at } => check(
                "schedule: the last learning rate, learning_rate · factor for each drop",
                max * factor.powi(at.len() as i32),
            ),
            _ => Ok(()),
        }
    }
}

fn expect(what: &str, found: f64, holds: bool) -> Result<()> {
    if holds { Ok(()) } else { refuse(format!("{what}, found {found}")) }
}

fn refuse(expected: String) -> Result<()> {
    Err(Error::invalid(format!("schedule: expected {expected}")))
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
    fn schedules_take_their_values_by_hand() {
        let at = |schedule: &Schedule, fraction: f64| schedule.at(2.0, fraction).learning_rate;
        let exponential = Schedule::Exponential { end: 0.01 };
        let polynomial = Schedule::Polynomial { end: 0.1, power: 2.0 };
        let step = Schedule::Step { factor: 0.1, at: vec![0.5, 0.75] };
        // Cycles of 1/7, 2/7 and 4/7.
        let restarts = Schedule::WarmRestarts { cycles: 3, growth: 2.0, end: 0.0 };
        let table =
            |between| Schedule::Piecewise { points: vec![[0.2, 0.5], [0.6, 1.0], [1.0, 0.0]], between };
        for (schedule, fraction, expected) in [
            (&exponential, 0.0, 2.0),
            (&exponential, 0.5, 0.2),
            (&exponential, 1.0, 0.02),
            (&polynomial, 0.0, 2.0),
            (&polynomial, 0.5, 2.0 * (0.1 + 0.9 * 0.25)),
            (&polynomial, 1.0, 0.2),
            (&step, 0.49, 2.0),
            (&step, 0.5, 0.2),
            (&step, 0.9, 0.02),
            (&restarts, 0.0, 2.0),
            (&restarts, 0.5 / 7.0, 1.0),
            (&restarts, 1.0 / 7.0 + 1e-12, 2.0),
            (&restarts, 2.0 / 7.0, 1.0),
            (&restarts, 3.0 / 7.0 + 1e-12, 2.0),
            (&restarts, 5.0 / 7.0, 1.0),
            (&restarts, 1.0, 0.0),
            (&table(Interpolation::Linear), 0.0, 1.0),
            (&table(Interpolation::Linear), 0.4, 1.5),
            (&table(Interpolation::Linear), 0.9, 0.5),
            (&table(Interpolation::Cosine), 0.8, 1.0),
            (&table(Interpolation::Cosine), 0.3, 2.0 * (0.5 + 0.25 * (1.0 - 0.5f64.sqrt()))),
            (&table(Interpolation::None), 0.59, 1.0),
            (&table(Interpolation::None), 0.6, 2.0),
            (&table(Interpolation::None), 1.0, 0.0),
        ] {
            let found = at(schedule, fraction);
            assert!((found - expected).abs() < 1e-9, "{schedule:?} at {fraction}: {found}, not {expected}");
            schedule.check_rates(1e-3).unwrap();
        }
        let even = Schedule::WarmRestarts { cycles: 4, growth: 1.0, end: 0.5 };
        assert!(close(at(&even, 0.125), 1.5) && close(at(&even, 1.0), 1.0));
    }

    #[test]
    fn invalid_schedules_are_named() {
        let read =
            |json: &str| serde_json::from_str::<Schedule>(json).unwrap().check().unwrap_err().to_string();
        for (json, words) in [
            (r#"{"name": "exponential", "end": 0}"#, "an end in (0, 1], found 0"),
            (r#"{"name": "polynomial", "power": 0}"#, "a power above 0, found 0"),
            (r#"{"name": "polynomial", "end": 2}"#, "an end in [0, 1], found 2"),
            (
                r#"{"name": "step", "at": [0.5, 0.4]}"#,
                "increasing shares in (0, 1) in `at`, found [0.5, 0.4]",
            ),
            (r#"{"name": "step", "factor": 1.5}"#, "a factor in (0, 1], found 1.5"),
            (r#"{"name": "warm_restarts", "cycles": 0}"#, "1 to 100 cycles, found 0"),
            (r#"{"name": "warm_restarts", "growth": 0}"#, "a growth in [0.1, 10], found 0"),
            (r#"{"name": "piecewise", "points": []}"#, "points [share, factor]"),
            (r#"{"name": "piecewise", "points": [[0, 1], [0, 0.5]]}"#, "increasing shares"),
            (r#"{"name": "piecewise", "points": [[0, 2]]}"#, "factors in [0, 1]"),
        ] {
            let message = read(json);
            assert!(message.starts_with("schedule: expected ") && message.contains(words), "{message}");
        }
        let tiny = Schedule::Step { factor: 1e-30, at: vec![0.2, 0.4] };
        assert!(tiny.check_rates(1e-3).unwrap_err().to_string().contains("learning_rate · factor"));
    }

    #[test]
    fn recipes_name_schedules() {
        let read = |json: &str| serde_json::from_str::<Schedule>(json);
        assert_eq!(read(r#"{"name": "one_cycle"}"#).unwrap(), Schedule::one_cycle());
        assert_eq!(read(r#"{"name": "constant"}"#).unwrap(), Schedule::Constant);
        let step = Schedule::Step { factor: 0.1, at: vec![0.5, 0.75] };
        assert_eq!(read(r#"{"name": "step"}"#).unwrap(), step);
        for name in ["constant", "cosine", "one_cycle", "exponential", "polynomial", "step", "warm_restarts"]
        {
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
