//! The ways of a cell, timed in turn.
//!
//! ```text
//!   round 1:  peak | A A A A | B B | C C C …      each for its share of the budget, after one untimed run
//!   round 2:  peak | A A A A | B B | C C C …
//! ```
//!
//! A shared machine drifts by tens of percent within minutes. A ratio of two ways is therefore formed within a round;
//! its median over the rounds is reported, and its range over them is the interval.

use super::computation::Computation;
use lopper_engine::Result;
use std::time::Duration;

/// The median time of each way in each round, in seconds: `[way][round]`.
pub(super) struct Rounds(Vec<Vec<f64>>);

/// A median over the rounds, with the lowest and the highest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Interval {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], low: values[0], high: values[values.len() - 1] }
    }
}

impl Rounds {
    /// Times each of `ways` for `time` in all, over `rounds` rounds; `between` runs before each round.
    pub(super) fn measure(
        ways: &mut [&mut dyn Computation],
        rounds: usize,
        time: Duration,
        mut between: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut times = vec![Vec::with_capacity(rounds); ways.len()];
        for _ in 0..rounds {
            between()?;
            for (way, times) in ways.iter_mut().zip(&mut times) {
                times.push(way.sample(time / rounds as u32)?);
            }
        }
        Ok(Self(times))
    }

    /// The time of a way in seconds.
    pub(super) fn seconds(&self, way: usize) -> Interval {
        Interval::of(self.0[way].iter().copied())
    }

    /// How many times as fast as `base` a way is.
    pub(super) fn speedup(&self, way: usize, base: usize) -> Interval {
        Interval::of(self.0[base].iter().zip(&self.0[way]).map(|(base, way)| base / way))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_between_rounds_cancels() {
        // The machine is half as fast in the second round.
        let rounds = Rounds(vec![vec![2.0, 4.0, 2.0], vec![1.0, 2.0, 0.5]]);
        assert_eq!(rounds.seconds(0), Interval { median: 2.0, low: 2.0, high: 4.0 });
        assert_eq!(rounds.speedup(1, 0), Interval { median: 2.0, low: 2.0, high: 4.0 });
        assert_eq!(rounds.speedup(0, 0), Interval { median: 1.0, low: 1.0, high: 1.0 });
    }
}
