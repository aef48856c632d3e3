//! Sums of partial gradients.

use crate::cpu::Cpu;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Computes `out[i] = Σ_chunk partial[chunk][i]`, in chunk order.
pub(in crate::cpu) fn sum_chunks(cpu: &Cpu, partial: &[f32], out: &mut [f32]) {
    const PIECE: usize = 4096;
    let len = out.len();
    cpu.run(|| {
        out.par_chunks_mut(PIECE).enumerate().for_each(|(piece, out)| {
            let range = piece * PIECE..piece * PIECE + out.len();
            out.copy_from_slice(&partial[range.clone()]);
            for chunk in partial.chunks_exact(len).skip(1) {
                cpu.dispatch(AddAssign { to: out, from: &chunk[range.clone()] });
            }
        });
    });
}

/// Computes `to += from`.
struct AddAssign<'a> {
    to: &'a mut [f32],
    from: &'a [f32],
}

impl Kernel for AddAssign<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (to, from) in self.to.chunks_mut(S::LANES).zip(self.from.chunks(S::LANES)) {
            s.put(to, s.add(s.get(to), s.get(from)));
        }
    }
}
