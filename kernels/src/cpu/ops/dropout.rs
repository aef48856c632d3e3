//! Dropout (Srivastava et al. 2014) with a counter-based generator. Whether element `i` is kept depends only on
//! `(seed, i)`, so the results are bit-identical for any number of threads and the gradient needs no stored mask.

use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::CHUNK;
use crate::cpu::simd::{Kernel, Simd};
use crate::reference::keeps;
use rayon::prelude::*;

/// Zeroes each element with probability `p` and multiplies the others by `1/(1 − p)`. [`keeps`] decides which elements
/// are kept. The gradient is the same call on `dy`.
pub fn dropout(cpu: &Cpu, p: f32, seed: u64, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    cpu.run(|| {
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(i, (y, x))| {
            cpu.dispatch(Chunk { p, seed, first: (i * CHUNK) as u64, x, y });
        });
    });
}

struct Chunk<'a> {
    p: f32,
    seed: u64,
    first: u64,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let scale = 1.0 / (1.0 - self.p);
        for (i, (y, &x)) in (self.first..).zip(self.y.iter_mut().zip(self.x)) {
            *y = if keeps(self.p, self.seed, i) { scale * x } else { 0.0 };
        }
    }
}
