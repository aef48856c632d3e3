//! One scalar formula applied to every element of some slices, in fixed chunks.
//!
//! The formula is inlined into a plain loop inside the backend's `#[target_feature]` function, where the compiler
//! turns it into that backend's vectors. These loops do a handful of operations on each element that they read from
//! memory and write back: memory bounds them, and hand-written vectors would gain nothing.

use super::Cpu;
use super::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Floats in the unit of work of one task: 64 KiB, which several slices of fit the second-level cache.
pub(super) const CHUNK: usize = 1 << 14;

/// `outs[..][i] = op(outs[..][i], ins[..][i])` for every `i`. All slices have the same length.
pub(super) fn lanewise<const OUT: usize, const IN: usize>(
    cpu: &Cpu,
    outs: [&mut [f32]; OUT],
    ins: [&[f32]; IN],
    op: impl Fn([f32; OUT], [f32; IN]) -> [f32; OUT] + Copy + Send + Sync,
) {
    let len = outs[0].len();
    let lengths = outs.iter().map(|out| out.len()).chain(ins.iter().map(|x| x.len()));
    assert!(lengths.into_iter().all(|l| l == len), "slices of different lengths");
    let mut outs = outs.map(|out| out.chunks_mut(CHUNK));
    let mut ins = ins.map(|x| x.chunks(CHUNK));
    let chunks: Vec<_> = (0..len.div_ceil(CHUNK))
        .map(|_| Chunk {
            outs: outs.each_mut().map(|out| out.next().expect("as many chunks as the first slice")),
            ins: ins.each_mut().map(|x| x.next().expect("as many chunks as the first slice")),
            op,
        })
        .collect();
    cpu.run(|| chunks.into_par_iter().for_each(|chunk| cpu.dispatch(chunk)));
}

struct Chunk<'a, const OUT: usize, const IN: usize, Op> {
    outs: [&'a mut [f32]; OUT],
    ins: [&'a [f32]; IN],
    op: Op,
}

impl<const OUT: usize, const IN: usize, Op> Kernel for Chunk<'_, OUT, IN, Op>
where
    Op: Fn([f32; OUT], [f32; IN]) -> [f32; OUT],
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        // Slices cut to one length let the compiler drop the bounds checks of the loop.
        let len = self.outs[0].len();
        let outs = self.outs.each_mut().map(|out| &mut out[..len]);
        let ins = self.ins.map(|x| &x[..len]);
        for i in 0..len {
            let (mut out, mut x) = ([0.0; OUT], [0.0; IN]);
            for k in 0..OUT {
                out[k] = outs[k][i];
            }
            for k in 0..IN {
                x[k] = ins[k][i];
            }
            let new = (self.op)(out, x);
            for k in 0..OUT {
                outs[k][i] = new[k];
            }
        }
    }
}
