//! The latency of an inference plan, and of whatever else is run again and again.

use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Result};
use serde::Serialize;
use std::time::{Duration, Instant};

/// A latency in short, as it is reported.
#[derive(Serialize)]
pub struct Spread {
    pub median_ms: f64,
    pub p10_ms: f64,
    pub p90_ms: f64,
    pub runs: usize,
}

/// Wall-clock times of whole runs, sorted, milliseconds.
pub struct Latency {
    times: Vec<f64>,
}

impl Latency {
    /// Runs `plan` on `images` twice to warm up, then at least `runs` times and for `time`.
    pub fn measure(plan: &mut Plan, images: &[f32], runs: usize, time: Duration) -> Result<Self> {
        Self::of(runs, time, || plan.run(images).map(drop))
    }

    /// Calls `run` twice to warm up, then at least `runs` times and for `time`.
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

    /// Of `graph` on one image of its own size.
    pub fn of_one_image(graph: &Graph, device: &Device) -> Result<Self> {
        let [h, w, c] = graph.info.input;
        let mut plan = Plan::new(graph, [1, h, w, c], device)?;
        Self::measure(&mut plan, &test_images(h * w * c), 5, Duration::from_millis(300))
    }

    /// The time that `share` of the runs stay below, 0..=1.
    pub fn quantile(&self, share: f64) -> f64 {
        self.times[(share * (self.times.len() - 1) as f64).round() as usize]
    }

    /// The time in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Its middle, its 10 % and 90 % quantiles, and how many runs they are of.
    pub fn spread(&self) -> Spread {
        let [p10_ms, p90_ms] = [0.1, 0.9].map(|share| self.quantile(share));
        Spread { median_ms: self.median(), p10_ms, p90_ms, runs: self.times.len() }
    }
}

/// `len` values of mean 0 and variance about 1, the same on every call: what a normalised image looks like to
/// a kernel. Zeros would time as well, but would hide a wrong result and a slow subnormal.
pub fn test_images(len: usize) -> Vec<f32> {
    // A Weyl sequence: equidistributed, and no generator is needed.
    (0..len).map(|i| (((i as f64 * 0.618_033_988_749_895).fract() - 0.5) * 3.46) as f32).collect()
}
