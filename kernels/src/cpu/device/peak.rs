//! Measurements of the machine's limits: the peak rates of fused multiply-adds and of memory reads.
//!
//! For multiply-adds, each thread keeps `CHAINS` independent accumulators in registers and touches no memory. There are
//! more than latency × ports (4 × 2) of them if the registers allow it. Every reported "share of peak" divides by this
//! figure, measured in the same process, because the clock of a shared machine changes from one minute to the next.

use crate::buffer::Buffer;
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::{Cpu, Isa};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Performs `steps` rounds of one FMA per accumulator.
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

/// Sums a slice with enough independent sums that only memory limits the speed.
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
    /// Measures the rate at which all threads of this `Cpu` together read a block of 256 MiB, in GB/s, as the best of
    /// several runs.
    pub fn read_peak(&self) -> f64 {
        const LEN: usize = 64 << 20;
        const RUNS: usize = 5;
        let mut block = Buffer::zeros(LEN);
        // Pages that have never been written all share one zero page.
        block.fill(1.0);
        let share = LEN.div_ceil(self.thread_count());
        let fastest = (0..RUNS).map(|_| {
            let start = Instant::now();
            self.workers.broadcast(|context| {
                let from = context.index() * share;
                black_box(self.dispatch(ReadAll(&block[from..LEN.min(from + share)])))
            });
            start.elapsed().as_secs_f64()
        });
        4e-9 * LEN as f64 / fastest.fold(f64::INFINITY, f64::min)
    }

    /// Measures the cost, in seconds, of giving each thread of this `Cpu` a task and waiting for all of them. Groups of
    /// tasks, each a few microseconds long, run back to back as in a plan. The cost is the median time of a group minus
    /// that of one of its tasks.
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

    /// Measures the peak rate of this instruction set's fused multiply-adds on all threads of this `Cpu`, in GFLOP/s
    /// (an FMA counts as two), as the best of several runs of a few milliseconds.
    pub fn fma_peak(&self) -> f64 {
        const STEPS: usize = 400_000;
        const RUNS: usize = 7;
        // A portable vector takes two of sixteen registers, so six chains fit.
        let (chains, lanes) = match self.isa() {
            Isa::Portable => (6, 8),
            Isa::Avx2 => (12, 8),
            Isa::Avx512 => (12, 16),
        };
        let flops = (2 * STEPS * chains * lanes * self.thread_count()) as f64;
        let fastest = (0..RUNS).map(|_| {
            let start = Instant::now();
            self.workers.broadcast(|_| match self.isa() {
                Isa::Portable => black_box(self.dispatch(Chains::<6> { steps: STEPS })),
                _ => black_box(self.dispatch(Chains::<12> { steps: STEPS })),
            });
            start.elapsed().as_secs_f64()
        });
        flops / fastest.fold(f64::INFINITY, f64::min) / 1e9
    }
}
