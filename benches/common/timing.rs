//! Times and the machine's limits, measured in turn.
//!
//! ```text
//!   round 1:  limits | A A A A | B B | C C C …      each for budget / ROUNDS, after one untimed run
//!   round 2:  limits | A A A A | B B | C C C …
//! ```
//!
//! A shared machine drifts by tens of percent within minutes. Values to be compared are therefore measured in turn, and
//! a share of a limit (the FMA peak, the memory read rate) uses that limit as measured in the same rounds.

use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::Cpu;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 5;

/// Many measurements of one thing, sorted; for a way to compute something, in seconds.
pub struct Times(Vec<f64>);

impl Times {
    /// Sorts the values, of which there is at least one.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// Returns the quantile for `share`, in 0..=1: that share of the values lies below it.
    pub fn quantile(&self, share: f64) -> f64 {
        self.0[(share * (self.0.len() - 1) as f64).round() as usize]
    }

    /// Returns the median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// Rounds to four significant digits: more would be noise, and would change with each run.
pub fn round(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// Result of [`in_turn`].
pub struct Measured {
    /// FMA peak measured alongside the times: the median over the rounds, in GFLOP/s.
    pub peak_gflops: f64,
    /// Memory read rate, likewise, in GB/s; `None` if not requested.
    pub read_gbytes_s: Option<f64>,
    /// Times of each way, in the order given.
    pub times: Vec<Times>,
}

/// Times each of `ways` for `budget`, in turn. Each runs at least once per round.
pub fn in_turn(
    cpu: &Cpu,
    budget: Duration,
    memory: Option<&Memory>,
    ways: &mut [&mut dyn FnMut()],
) -> Measured {
    let (mut peaks, mut reads, mut times) = (Vec::new(), Vec::new(), vec![Vec::new(); ways.len()]);
    for _ in 0..ROUNDS {
        peaks.push(cpu.fma_peak());
        reads.extend(memory.map(|memory| memory.read_gbytes_s(cpu.thread_count())));
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
    let median = |values| round(Times::new(values).median());
    Measured {
        peak_gflops: median(peaks),
        read_gbytes_s: memory.map(|_| median(reads)),
        times: times.into_iter().map(Times::new).collect(),
    }
}

/// Buffer larger than the caches, to measure the memory read rate.
pub struct Memory(Buffer);

impl Memory {
    /// Allocates 512 MiB on the same kind of pages as the kernels' buffers, because huge pages are read faster.
    pub fn new() -> Self {
        let mut buffer = Buffer::zeros(128 << 20);
        buffer.fill(1.0); // all pages that were never written map to one page of zeros
        Self(buffer)
    }

    /// Returns the GB/s of `threads` threads that read the whole buffer once, each its own part.
    fn read_gbytes_s(&self, threads: usize) -> f64 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in self.0.chunks(self.0.len().div_ceil(threads)) {
                scope.spawn(move || black_box(sum(part)));
            }
        });
        4e-9 * self.0.len() as f64 / start.elapsed().as_secs_f64()
    }
}

/// Sums in 32 lanes, which hide the latency of an addition.
fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0; 32];
    for chunk in values.as_chunks::<32>().0 {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum()
}
