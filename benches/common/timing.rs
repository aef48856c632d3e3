//! Times and the machine's limits, taken in turn.
//!
//! ```text
//!   round 1:  FMA peak | A A A A | B B | C C C …      each for budget / ROUNDS, after one run that is not timed
//!   round 2:  FMA peak | A A A A | B B | C C C …
//! ```
//!
//! A shared machine drifts by tens of percent within minutes. What is to be compared is therefore timed in turn, and a
//! share of the peak divides by the peak of the same rounds.

use kernels::cpu::Cpu;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 5;

/// Wall-clock times of one way to compute something: seconds, sorted.
pub struct Times(Vec<f64>);

impl Times {
    fn new(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self(seconds)
    }

    /// The time that `share` of the runs stay below, 0..=1.
    pub fn quantile(&self, share: f64) -> f64 {
        self.0[(share * (self.0.len() - 1) as f64).round() as usize]
    }

    /// The time in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// What [`in_turn`] measured.
pub struct Measured {
    /// The FMA peak beside the times: the median over the rounds, GFLOP/s.
    pub peak_gflops: f64,
    /// Of each way, in the order given.
    pub times: Vec<Times>,
}

/// Times each of `ways` for `budget`, in turn. Each is run at least once a round.
pub fn in_turn(cpu: &Cpu, budget: Duration, ways: &mut [&mut dyn FnMut()]) -> Measured {
    let (mut peaks, mut times) = (Vec::new(), vec![Vec::new(); ways.len()]);
    for _ in 0..ROUNDS {
        peaks.push(cpu.fma_peak());
        for (way, times) in ways.iter_mut().zip(&mut times) {
            way();
            let begin = Instant::now();
            loop {
                let start = Instant::now();
                way();
                times.push(start.elapsed().as_secs_f64());
                if begin.elapsed() >= budget / ROUNDS {
                    break;
                }
            }
        }
    }
    let peak_gflops = super::rows::round(Times::new(peaks).median());
    Measured { peak_gflops, times: times.into_iter().map(Times::new).collect() }
}

/// A buffer larger than the caches, for the rate at which memory can be read.
pub struct Memory(Vec<f32>);

impl Memory {
    /// 512 MiB.
    pub fn new() -> Self {
        Self(vec![1.0; 128 << 20])
    }

    /// GB/s of `threads` threads that read all of it, each its own part: the median of some passes.
    pub fn read_gbytes_s(&self, threads: usize) -> f64 {
        let part = self.0.len().div_ceil(threads);
        let pass = |_| {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for part in self.0.chunks(part) {
                    scope.spawn(move || black_box(sum(part)));
                }
            });
            start.elapsed().as_secs_f64()
        };
        let passes = Times::new((0..ROUNDS).map(pass).collect());
        super::rows::round(4e-9 * self.0.len() as f64 / passes.median())
    }
}

/// The sum in 32 lanes, which hide the latency of an addition.
fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0; 32];
    for chunk in values.as_chunks::<32>().0 {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum()
}
