//! The machine's limit: how fast fused multiply-adds run when nothing else does.
//!
//! Each thread keeps `CHAINS` independent accumulators in registers, more than latency × ports (4 × 2) where
//! the registers allow it, and touches no memory. Every reported "share of peak" divides by this figure, taken
//! in the same process, because clocks differ from one minute to the next on a shared machine.

use super::simd::{Kernel, Simd};
use super::{Cpu, Isa};
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

impl Cpu {
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
