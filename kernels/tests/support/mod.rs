//! Shared parts of the kernel tests: every available instruction set, seeded data, and the error bound.
#![allow(dead_code)] // Each test binary uses only a part.

use lopper_kernels::cpu::{Cpu, Isa};
use lopper_kernels::guard::Guard;
use lopper_kernels::params::Activation;
use lopper_kernels::reference;
use proptest::prelude::*;
use std::sync::LazyLock;

/// One `Cpu` with two threads for each instruction set of this machine. Using them turns on guarded buffers, with the
/// guard after the end unless the environment specifies otherwise.
pub static CPUS: LazyLock<Vec<Cpu>> = LazyLock::new(|| {
    guard();
    Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)).map(|cpu| cpu.threads(2)).collect()
});

/// Further padding behind the last row and column, mostly none.
pub fn extra_padding() -> impl Strategy<Value = [usize; 2]> {
    prop_oneof![3 => Just([0; 2]), 1 => [0..=2usize, 0..=2]]
}

/// Guards the buffers of this process.
pub fn guard() {
    if Guard::current() == Guard::Off {
        Guard::After.set();
    }
}

/// Computes `y = activation(y + residual)` on a thread of the kernels, which flushes subnormals to zero.
pub fn finish(residual: Option<&[f32]>, activation: Activation, y: &mut [f32]) {
    CPUS[0].run(|| reference::conv2d_epilogue(residual, activation, y));
}

/// Seeded pseudo-random bits (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// Returns the next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns `len` values in −1..1.
    pub fn reals(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    /// Returns `len` integers in −3..=3. Their products sum exactly in any order as long as every sum is below 2²⁴.
    pub fn integers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.bits() % 7) as f32 - 3.0).collect()
    }

    /// Returns `len` random flags.
    pub fn flags(&mut self, len: usize) -> Vec<bool> {
        (0..len).map(|_| self.bits() & 1 == 0).collect()
    }
}

/// Converts the values to double precision.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// Returns the absolute values in double precision.
pub fn magnitude(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v).abs()).collect()
}

/// Asserts `|got − want| ≤ c · ε · √K · Σ|a||b|` for each element; `sums` holds `Σ|a||b|`.
pub fn assert_bounded(what: &str, c: f64, k: usize, got: &[f32], want: &[f64], sums: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, ((&got, &want), &sum)) in got.iter().zip(want).zip(sums).enumerate() {
        let bound = c * f64::from(f32::EPSILON) * (k as f64).sqrt() * sum;
        let error = (f64::from(got) - want).abs();
        assert!(error <= bound, "{what}[{i}]: got {got}, want {want}, error {error:e} above {bound:e}");
    }
}

/// Computes `Σ a·b` in double precision.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
