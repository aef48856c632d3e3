//! Times and the machine's limits, taken in turn.
//!
//! ```text
//!   round 1:  limits | A A A A | B B | C C C …      each for budget / ROUNDS, after one run that is not timed
//!   round 2:  limits | A A A A | B B | C C C …
//! ```
//!
//! A shared machine drifts by tens of percent within minutes. What is to be compared is therefore timed in turn, and a
//! share of a limit (the FMA peak, the rate at which memory is read) divides by that limit in the same rounds.

use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::Cpu;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 5;

/// Many measurements of one thing, sorted; of a way to compute something: seconds.
pub struct Times(Vec<f64>);

impl Times {
    fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// What `share` of them stay below, 0..=1.
    pub fn quantile(&self, share: f64) -> f64 {
        self.0[(share * (self.0.len() - 1) as f64).round() as usize]
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// What [`in_turn`] measured.
pub struct Measured {
    /// The FMA peak beside the times: the median over the rounds, GFLOP/s.
    pub peak_gflops: f64,
    /// The rate at which memory is read, likewise, GB/s; `None` where that was not asked for.
    pub read_gbytes_s: Option<f64>,
    /// Of each way, in the order given.
    pub times: Vec<Times>,
}

/// Times each of `ways` for `budget`, in turn. Each is run at least once a round.
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
    let median = |values| super::rows::round(Times::new(values).median());
    Measured {
        peak_gflops: median(peaks),
        read_gbytes_s: memory.map(|_| median(reads)),
        times: times.into_iter().map(Times::new).collect(),
    }
}

/// A buffer larger than the caches, for the rate at which memory can be read.
pub struct Memory(Buffer);

impl Memory {
    /// 512 MiB in the pages that kernels get: huge ones are read faster.
    pub fn new() -> Self {
        let mut buffer = Buffer::zeros(128 << 20);
        buffer.fill(1.0); // pages that were never written share one page of zeros
        Self(buffer)
    }

    /// GB/s of `threads` threads that read all of it once, each its own part.
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
