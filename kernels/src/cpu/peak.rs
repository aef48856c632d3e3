//! The machine's limits: how fast fused multiply-adds run, and memory is read, when nothing else happens.
//!
//! Each thread keeps `CHAINS` independent accumulators in registers, more than latency × ports (4 × 2) where
//! the registers allow it, and touches no memory. Every reported "share of peak" divides by this figure, taken
//! in the same process, because clocks differ from one minute to the next on a shared machine.

use super::simd::{Kernel, Simd};
use super::{Cpu, Isa};
use crate::buffer::Buffer;
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// `steps` rounds of one FMA on each accumulator.
struct Chains<const CHAINS: usize> {
    steps: usize,
}

impl<const CHAINS: usize> Kernel for Chains<CHAINS> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(1e-3)));
        let mut sums = [s.splat(black_box(1.0)); CHAINS];
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = s.fma(*sum, a, b);
            }
        }
        sums.iter().fold(0.0, |total, &sum| total + s.sum(sum))
    }
}

/// Sums a slice with enough independent sums that only memory can be slow.
struct ReadAll<'a>(&'a [f32]);

impl Kernel for ReadAll<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        const SUMS: usize = 8;
        let mut sums = [s.zero(); SUMS];
        for block in self.0.chunks_exact(SUMS * S::LANES) {
            for i in 0..SUMS {
                sums[i] = s.add(sums[i], s.get(&block[i * S::LANES..]));
            }
        }
        sums.iter().fold(0.0, |total, &sum| total + s.sum(sum))
    }
}

impl Cpu {
    /// Measures how fast all threads of this `Cpu` together read a block of 256 MiB, in GB/s: the best of several runs.
    pub fn read_peak(&self) -> f64 {
        const LEN: usize = 64 << 20;
        const RUNS: usize = 5;
        let mut block = Buffer::zeros(LEN);
        // Pages that nobody has written are one and the same.
        block.fill(1.0);
        let share = LEN.div_ceil(self.thread_count());
        let fastest = (0..RUNS).map(|_| {
            let start = Instant::now();
            self.pool.broadcast(|context| {
                let from = context.index() * share;
                black_box(self.dispatch(ReadAll(&block[from..LEN.min(from + share)])))
            });
            start.elapsed().as_secs_f64()
        });
        4e-9 * LEN as f64 / fastest.fold(f64::INFINITY, f64::min)
    }

    /// Measures what it costs to give each thread of this `Cpu` a task and to wait for all of them, in seconds: the median
    /// time of such a group, one behind the other as in a plan, less that of one of its tasks, a few microseconds long.
    pub fn fork_join(&self) -> f64 {
        const RUNS: usize = 1001;
        let task = || black_box(self.dispatch(Chains::<12> { steps: black_box(2000) }));
        let median = |run: &(dyn Fn() + Sync)| {
            let mut times = [0.0; RUNS];
            for time in &mut times {
                let start = Instant::now();
                run();
                *time = start.elapsed().as_secs_f64();
            }
            times.sort_by(f64::total_cmp);
            times[RUNS / 2]
        };
        let group = || {
            (0..self.thread_count()).into_par_iter().with_max_len(1).for_each(|_| {
                task();
            });
        };
        self.run(|| median(&group) - median(&|| _ = task()))
    }

    /// Measures the peak of fused multiply-adds of this instruction set on all threads of this `Cpu`,
    /// in GFLOP/s (an FMA is two): the best of several runs of a few milliseconds.
    pub fn fma_peak(&self) -> f64 {
        const STEPS: usize = 400_000;
        const RUNS: usize = 7;
        // The portable vectors are two registers of sixteen each: six chains are what fits.
        let (chains, lanes) = match self.isa() {
            Isa::Portable => (6, 8),
            Isa::Avx2 => (12, 8),
            Isa::Avx512 => (12, 16),
        };
        let flops = (2 * STEPS * chains * lanes * self.thread_count()) as f64;
        let fastest = (0..RUNS).map(|_| {
            let start = Instant::now();
            self.pool.broadcast(|_| match self.isa() {
                Isa::Portable => black_box(self.dispatch(Chains::<6> { steps: STEPS })),
                _ => black_box(self.dispatch(Chains::<12> { steps: STEPS })),
            });
            start.elapsed().as_secs_f64()
        });
        flops / fastest.fold(f64::INFINITY, f64::min) / 1e9
    }
}
