//! Layer normalization of each row of `x` `[rows, C]`.
//!
//! ```text
//!   for each row:                                  parallel in blocks of rows
//!     mean      Σ x                                reads the row
//!     variance  Σ (x − mean)²                      reads it again, from the L1 cache
//!     y         (x − mean)·inv·gamma + beta        and again
//! ```
//!
//! A row is short, a few kilobytes, so only the first pass waits for memory. Two passes subtract the mean before they
//! square, which loses no digits where the mean is large. Sums over rows, the gradients of the parameters, are `f32` in each
//! block and added in `f64` in the order of the blocks.

use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::CHUNK;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::LayerNorm;
use rayon::prelude::*;

/// `y = gamma·(x − mean)/√(var + eps) + beta`, with the statistics of each row.
pub fn layer_norm_forward(cpu: &Cpu, g: &LayerNorm, x: &[f32], affine: [&[f32]; 2], y: &mut [f32]) {
    assert_eq!((x.len(), y.len(), affine.map(<[f32]>::len)), (g.len(), g.len(), [g.c; 2]));
    let block = block(g);
    cpu.run(|| {
        cpu.divide(y.par_chunks_mut(block).zip(x.par_chunks(block)))
            .for_each(|(y, x)| cpu.dispatch(Forward { g, x, affine, y }));
    });
}

/// The number of floats that a task works on: whole rows.
fn block(g: &LayerNorm) -> usize {
    g.c * (CHUNK / g.c).max(1)
}

struct Forward<'a> {
    g: &'a LayerNorm,
    x: &'a [f32],
    affine: [&'a [f32]; 2],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { g, x, affine: [gamma, beta], y } = self;
        let c = g.c;
        let (gamma, beta) = (&gamma[..c], &beta[..c]);
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            let (x, y) = (&x[..c], &mut y[..c]);
            let [mean, inv] = statistics(s, g, x);
            for i in 0..c {
                y[i] = (x[i] - mean) * inv * gamma[i] + beta[i];
            }
        }
    }
}

/// The mean of a row, and 1/√(var + eps).
#[inline(always)]
fn statistics<S: Simd>(s: S, g: &LayerNorm, x: &[f32]) -> [f32; 2] {
    let width = g.width as f64;
    let mean = (f64::from(sum(s, x, |v| v, |v| v)) + g.sum) / width;
    let center = mean as f32;
    let at = s.splat(center);
    let square = |v| {
        let d = s.sub(v, at);
        s.mul(d, d)
    };
    let spread = sum(s, x, square, |v| (v - center) * (v - center));
    // About the rounded mean, because that is what is subtracted.
    let spread = f64::from(spread) + g.constant_spread(f64::from(center));
    [center, (spread / width + f64::from(g.eps)).sqrt().recip() as f32]
}

/// `Σ f(x)` over a row; `vector` and `one` are f for vectors and for single numbers.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32], vector: impl Fn(S::F) -> S::F, one: impl Fn(f32) -> f32) -> f32 {
    const CHAINS: usize = 4;
    let mut totals = [s.zero(); CHAINS];
    let (mut rounds, mut rest) = (x.chunks_exact(CHAINS * S::LANES), 0.0);
    for round in &mut rounds {
        for (total, part) in totals.iter_mut().zip(round.chunks_exact(S::LANES)) {
            *total = s.add(*total, vector(s.get(part)));
        }
    }
    let mut vectors = rounds.remainder().chunks_exact(S::LANES);
    for part in &mut vectors {
        totals[0] = s.add(totals[0], vector(s.get(part)));
    }
    for &x in vectors.remainder() {
        rest += one(x);
    }
    let [a, b, c, d] = totals;
    s.sum(s.add(s.add(a, b), s.add(c, d))) + rest
}

/// The gradients of [`layer_norm_forward`]:
///
/// `dbeta = Σ dy`, `dgamma = Σ dy·x̂` over the rows; with `g = dy·gamma`, `dx = (g − Σ g/width − x̂·Σ g·x̂/width)/√(var +
/// eps)` over the channels.
pub fn layer_norm_backward(
    cpu: &Cpu,
    g: &LayerNorm,
    x: &[f32],
    gamma: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    [dgamma, dbeta]: [&mut [f32]; 2],
) {
    assert_eq!([x.len(), dy.len(), dx.len()], [g.len(); 3]);
    assert_eq!([gamma.len(), dgamma.len(), dbeta.len()], [g.c; 3]);
    let block = block(g);
    let mut sums = Buffer::zeros(g.len().div_ceil(block) * 2 * g.c);
    cpu.run(|| {
        let images = dx.par_chunks_mut(block).zip(x.par_chunks(block)).zip(dy.par_chunks(block));
        images.zip(sums.par_chunks_mut(2 * g.c)).for_each(|(((dx, x), dy), sums)| {
            cpu.dispatch(Backward { g, x, gamma, dy, dx, sums });
        });
    });
    let mut totals = vec![0.0f64; 2 * g.c];
    for sums in sums.chunks_exact(2 * g.c) {
        totals.iter_mut().zip(sums).for_each(|(total, &sum)| *total += f64::from(sum));
    }
    for (i, (dgamma, dbeta)) in dgamma.iter_mut().zip(dbeta).enumerate() {
        (*dgamma, *dbeta) = (totals[i] as f32, totals[g.c + i] as f32);
    }
}

struct Backward<'a> {
    g: &'a LayerNorm,
    x: &'a [f32],
    gamma: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    /// The sums of `dgamma` and of `dbeta`.
    sums: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { g, x, gamma, dy, dx, sums } = self;
        let (c, inv_width) = (g.c, 1.0 / g.width as f32);
        let (dgamma, dbeta) = sums.split_at_mut(c);
        let (gamma, dgamma, dbeta) = (&gamma[..c], &mut dgamma[..c], &mut dbeta[..c]);
        for ((x, dy), dx) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
            let (x, dy, dx) = (&x[..c], &dy[..c], &mut dx[..c]);
            let [mean, inv] = statistics(s, g, x);
            // dx holds x̂ until the sums over the channels are known.
            for i in 0..c {
                let x_hat = (x[i] - mean) * inv;
                dgamma[i] += dy[i] * x_hat;
                dbeta[i] += dy[i];
                dx[i] = x_hat;
            }
            let [shift, slope] = sums_of(s, [dy, gamma, dx]).map(|sum| sum * inv_width);
            for i in 0..c {
                dx[i] = (dy[i] * gamma[i] - shift - dx[i] * slope) * inv;
            }
        }
    }
}

/// `Σ a·b` and `Σ a·b·c`.
#[inline(always)]
fn sums_of<S: Simd>(s: S, [a, b, c]: [&[f32]; 3]) -> [f32; 2] {
    let mut totals = [s.zero(); 2];
    // Padding lanes are zero, and so are their products.
    for ((a, b), c) in a.chunks(S::LANES).zip(b.chunks(S::LANES)).zip(c.chunks(S::LANES)) {
        let product = s.mul(s.get(a), s.get(b));
        totals[0] = s.add(totals[0], product);
        totals[1] = s.fma(product, s.get(c), totals[1]);
    }
    [s.sum(totals[0]), s.sum(totals[1])]
}
