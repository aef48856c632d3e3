//! A computation that can be checked and timed, on either device.

use lopper_engine::Result;
use std::time::{Duration, Instant};

/// A packed layer with its input.
pub(super) trait Computation {
    /// The name of the kernel.
    fn kernel(&self) -> &'static str;

    /// The multiply-accumulates that the kernel performs.
    fn products(&self) -> u64;

    /// The size of the packed weights in bytes.
    fn bytes(&self) -> usize;

    /// Computes once and returns the result.
    fn result(&mut self) -> Result<Vec<f32>>;

    /// Computes once, then repeatedly for `time`, at least once; returns the median in seconds.
    fn sample(&mut self, time: Duration) -> Result<f64>;
}

/// Calls `run`, which returns seconds, for `time`, at least once; returns the median.
pub(super) fn median_of(time: Duration, mut run: impl FnMut() -> Result<f64>) -> Result<f64> {
    let (mut times, begin) = (Vec::new(), Instant::now());
    while times.is_empty() || begin.elapsed() < time {
        times.push(run()?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
