//! Applies one scalar formula to every element of several slices, in fixed chunks.
//!
//! The formula is inlined into a plain loop inside the backend's `#[target_feature]` function, where the compiler
//! vectorizes it for that backend. These loops perform only a few operations on each element that they read from memory
//! and write back. They are memory-bound, so hand-written vectors would gain nothing.

use crate::cpu::Cpu;
use crate::cpu::simd::{Kernel, Simd};

/// The number of floats that a task works on: 64 KiB, so that several slices of this size fit in the L2 cache.
pub(in crate::cpu) const CHUNK: usize = 1 << 14;

/// Computes `outs[..][i] = op(outs[..][i], ins[..][i])` for every `i`. All slices have the same length.
pub(in crate::cpu) fn lanewise<const OUT: usize, const IN: usize>(
    cpu: &Cpu,
    outs: [&mut [f32]; OUT],
    ins: [&[f32]; IN],
    op: impl Fn([f32; OUT], [f32; IN]) -> [f32; OUT] + Copy + Send + Sync,
) {
    let len = outs[0].len();
    let lengths = outs.iter().map(|out| out.len()).chain(ins.iter().map(|x| x.len()));
    assert!(lengths.into_iter().all(|l| l == len), "slices have different lengths");
    cpu.run(|| halve(cpu, Chunk { outs, ins, op }));
}

/// Computes `out[i] = op(ins[..][i])` for every `i` on this thread.
pub(in crate::cpu) fn lanewise_here<const IN: usize>(
    cpu: &Cpu,
    out: &mut [f32],
    ins: [&[f32]; IN],
    op: impl Fn([f32; IN]) -> f32,
) {
    cpu.dispatch(Chunk { outs: [out], ins, op: |_, x| [op(x)] });
}

/// Runs `whole`, recursively split into parallel halves until they fit in one chunk. (A parallel iterator over several
/// slices would need a list of their chunks, and so an allocation.)
fn halve<const OUT: usize, const IN: usize, Op>(cpu: &Cpu, whole: Chunk<OUT, IN, Op>)
where
    Op: Fn([f32; OUT], [f32; IN]) -> [f32; OUT] + Copy + Send + Sync,
{
    let chunks = whole.outs[0].len().div_ceil(CHUNK);
    if chunks <= 1 {
        return cpu.dispatch(whole);
    }
    let Chunk { outs, ins, op } = whole;
    let middle = chunks / 2 * CHUNK;
    let mut outs = outs.map(|out| out.split_at_mut(middle));
    let left = outs.each_mut().map(|(left, _)| std::mem::take(left));
    let left = Chunk { outs: left, ins: ins.map(|x| &x[..middle]), op };
    let right = Chunk { outs: outs.map(|(_, right)| right), ins: ins.map(|x| &x[middle..]), op };
    cpu.join(|| halve(cpu, left), || halve(cpu, right));
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
        // Slices of equal length let the compiler drop the bounds checks in the loop.
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
