//! Latency of inference plans and of anything else that runs repeatedly.

mod in_turn;

use lopper_engine::Result;
use lopper_engine::plan::Plan;
use serde::Serialize;
use std::time::{Duration, Instant};

pub use in_turn::{FEW_ROUNDS, ROUNDS, Rounds, TURN, in_turn, in_turn_by_batch};

/// Summary of a latency, as reported.
#[derive(Serialize)]
pub struct Spread {
    /// Median, in milliseconds.
    pub median_ms: f64,
    /// The time that a tenth of the runs does not exceed.
    pub p10_ms: f64,
    /// The time that nine tenths of the runs do not exceed.
    pub p90_ms: f64,
    /// Number of runs.
    pub runs: usize,
}

/// Sorted wall-clock times of whole runs, in milliseconds.
pub struct Latency {
    times: Vec<f64>,
}

impl Latency {
    /// Runs `plan` on `images` twice to warm up, then at least `runs` times and for at least `time`.
    pub fn measure(plan: &mut Plan, images: &[f32], runs: usize, time: Duration) -> Result<Self> {
        Self::of(runs, time, || plan.run(images).map(drop))
    }

    /// Calls `run` twice to warm up, then at least `runs` times and for at least `time`.
    pub fn of(runs: usize, time: Duration, mut run: impl FnMut() -> Result<()>) -> Result<Self> {
        run()?;
        run()?;
        let (mut times, begin) = (Vec::new(), Instant::now());
        while times.len() < runs || begin.elapsed() < time {
            let start = Instant::now();
            run()?;
            times.push(1e3 * start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(Self { times })
    }

    /// Returns the quantile at `share`, 0..=1: the time that this share of the runs does not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        self.times[(share * (self.times.len() - 1) as f64).round() as usize]
    }

    /// Returns the median time.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns the median, the 10 % and 90 % quantiles, and the number of runs.
    pub fn spread(&self) -> Spread {
        let [p10_ms, p90_ms] = [0.1, 0.9].map(|share| self.quantile(share));
        Spread { median_ms: self.median(), p10_ms, p90_ms, runs: self.times.len() }
    }
}

/// Returns `len` values of mean 0 and variance about 1, the same on every call: to a kernel they look like a normalized
/// image. Zeros would do for timing, but would hide wrong results and slow subnormals.
pub fn test_images(len: usize) -> Vec<f32> {
    // A Weyl sequence: equidistributed, without a generator.
    (0..len).map(|i| (((i as f64 * 0.618_033_988_749_895).fract() - 0.5) * 3.46) as f32).collect()
}
