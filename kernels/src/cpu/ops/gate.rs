//! Products with a gate `[N, C]`, one factor for each channel of each image.
//!
//! ```text
//!   for each image n, for each block of pixels:                 parallel
//!     for each pixel p: y[n, p, ·] = x[n, p, ·] · gate[n, ·]    contiguous, vectorized
//! ```
//!
//! The product is memory-bound. Few channels would leave most of a vector empty, so their factors are repeated: a row of the
//! loop is then several pixels long.

use crate::cpu::Cpu;
use crate::cpu::ops::columns::{Shift, column_sums};
use crate::cpu::ops::lanewise::CHUNK;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Gate;
use rayon::prelude::*;

/// Factors that are repeated up to this number: they stay in the L1 cache beside what they multiply.
const REPEATED: usize = 512;

/// `y[n, p, c] = x[n, p, c]·gate[n, c]`.
pub fn gate_forward(cpu: &Cpu, g: &Gate, x: &[f32], gate: &[f32], y: &mut [f32]) {
    assert_eq!((x.len(), gate.len(), y.len()), (g.x_len(), g.gate_len(), g.x_len()));
    let (image, block) = (g.pixels * g.c, g.c * (CHUNK / g.c).max(1));
    cpu.run(|| {
        cpu.divide(y.par_chunks_mut(image).enumerate()).for_each(|(n, y)| {
            let (x, gate) = (&x[n * image..][..image], &gate[n * g.c..][..g.c]);
            cpu.divide(y.par_chunks_mut(block).zip(x.par_chunks(block)))
                .for_each(|(y, x)| cpu.dispatch(Block { x, gate, y }));
        });
    });
}

/// Whole pixels of one image.
struct Block<'a> {
    x: &'a [f32],
    gate: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, gate, y } = self;
        let c = gate.len();
        if c > REPEATED / 4 {
            return multiply(x, gate, y);
        }
        let mut repeated = [0.0; REPEATED];
        let rows = &mut repeated[..REPEATED / c * c];
        rows.chunks_exact_mut(c).for_each(|row| row.copy_from_slice(gate));
        multiply(x, rows, y);
    }
}

/// Multiplies each run of `factors.len()` elements by `factors`; the last run may be shorter.
#[inline(always)]
fn multiply(x: &[f32], factors: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks(factors.len()).zip(y.chunks_mut(factors.len())) {
        for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
            *y = x * factor;
        }
    }
}

/// The gradient of the gate, `dgate[n, c] = Σ_p dy[n, p, c]·x[n, p, c]`. That of `x` is [`gate_forward`] of `dy`.
pub fn gate_grad(cpu: &Cpu, g: &Gate, x: &[f32], dy: &[f32], dgate: &mut [f32]) {
    assert_eq!((x.len(), dgate.len(), dy.len()), (g.x_len(), g.gate_len(), g.x_len()));
    let image = g.pixels * g.c;
    cpu.run(|| {
        dgate.par_chunks_mut(g.c).enumerate().for_each(|(n, dgate)| {
            let [x, dy] = [x, dy].map(|of| &of[n * image..][..image]);
            let sums = column_sums(cpu, g.c, Shift::FirstTile, [x, dy], |_, [x, dy]| [x * dy]);
            dgate.iter_mut().zip(sums.totals()).for_each(|(dgate, [sum])| *dgate = sum as f32);
        });
    });
}
