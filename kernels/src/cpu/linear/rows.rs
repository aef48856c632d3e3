//! The loop nest that the sparse layouts of a linear layer share.
//!
//! ```text
//!   for block of 64 outputs                          one task; no other task writes its columns of y
//!     for up to 4 rows of the batch                  weights are read once for all of them
//!       sums[row][output] = Σ_i x[row, i] · w[output, i]        over the weights that are stored
//!       y = activation(sums + bias + residual)
//! ```
//!
//! Each sum runs in an order that depends only on the weight, so the results are bit-identical for any batch and any
//! number of threads.

use crate::cpu::Cpu;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::element::Element;
use crate::cpu::simd::activate::activate;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Linear;
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;

/// The number of outputs per task.
pub(super) const OUTPUTS: usize = 64;
/// The maximum number of rows of the batch that share a pass over the weights.
pub(super) const BATCH: usize = 4;

/// The sums of a task, `[row of the batch][output]`.
pub(super) type Sums = [[f32; OUTPUTS]; BATCH];

/// The nonzero weights of a linear layer, stored row by row.
pub(super) trait SparseRows: Send + Sync {
    /// Writes the sums of the outputs `outputs`, at most [`OUTPUTS`] from a multiple of it on, for at most [`BATCH`]
    /// rows `x` of the batch. Outputs without weights keep the zero that they hold.
    fn sum(&self, cpu: &Cpu, outputs: Range<usize>, x: &[&[f32]], sums: &mut Sums);

    /// The name of the kernel: layout, instruction set, and the type of the weights unless it is f32.
    fn kernel(&self, cpu: &Cpu) -> &'static str;

    /// The number of multiply-accumulates for one row of the batch.
    fn products(&self) -> usize;

    /// The size of the stored weights in bytes.
    fn bytes(&self) -> usize;
}

/// A type of stored weights.
pub(super) trait Weight: Element + bytemuck::Pod + Send + Sync {
    /// Rounds to nearest.
    fn round(value: f32) -> Self;

    fn widen(self) -> f32;

    /// Moves the elements at `p`, in order, to the lanes whose bits are set in `mask`; the other lanes are zero.
    ///
    /// # Safety
    /// `p..p + LANES` is readable.
    unsafe fn expand<S: Simd>(s: S, p: *const Self, mask: u32) -> S::F;
}

impl Weight for f32 {
    fn round(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn expand<S: Simd>(s: S, p: *const Self, mask: u32) -> S::F {
        // SAFETY: guaranteed by the caller.
        unsafe { s.load_expanded(p, mask) }
    }
}

impl Weight for bf16 {
    fn round(value: f32) -> Self {
        Self::from_f32(value)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    unsafe fn expand<S: Simd>(s: S, p: *const Self, mask: u32) -> S::F {
        // SAFETY: guaranteed by the caller.
        unsafe { s.load_expanded_bf16(p, mask) }
    }
}

/// Computes `y = activation(x · wᵀ + bias + residual)`.
pub(super) fn run(cpu: &Cpu, g: &Linear, x: &[f32], w: &dyn SparseRows, epilogue: &Epilogue, y: &mut [f32]) {
    assert_eq!(
        (x.len(), y.len()),
        (g.n * g.inputs, g.n * g.outputs),
        "input and output have the lengths of their shapes"
    );
    epilogue.check(g.outputs, y.len());
    let y = Shared::new(y);
    cpu.run(|| {
        let tasks = (0..g.outputs.div_ceil(OUTPUTS)).into_par_iter().with_max_len(1);
        cpu.divide(tasks).for_each(|task| {
            let outputs = task * OUTPUTS..((task + 1) * OUTPUTS).min(g.outputs);
            for first in (0..g.n).step_by(BATCH) {
                let count = BATCH.min(g.n - first);
                let rows: [&[f32]; BATCH] = std::array::from_fn(|i| {
                    // Rows that do not exist are not passed on.
                    &x[(first + i.min(count - 1)) * g.inputs..][..g.inputs]
                });
                let mut sums: Sums = [[0.0; OUTPUTS]; BATCH];
                w.sum(cpu, outputs.clone(), &rows[..count], &mut sums);
                for (i, sums) in sums[..count].iter().enumerate() {
                    let at = (first + i) * g.outputs + outputs.start;
                    // SAFETY: only this task writes these columns of y.
                    let out = unsafe { y.range(at, outputs.len()) };
                    cpu.dispatch(Finish {
                        sums: &sums[..outputs.len()],
                        bias: epilogue.bias.map(|bias| &bias[outputs.clone()]),
                        residual: epilogue.residual.map(|residual| &residual[at..][..outputs.len()]),
                        epilogue,
                        out,
                    });
                }
            }
        });
    });
}

/// Computes `out = activation(sums + bias + residual)`.
struct Finish<'a> {
    sums: &'a [f32],
    bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    epilogue: &'a Epilogue<'a>,
    out: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (at, out) in (0..).step_by(S::LANES).zip(self.out.chunks_mut(S::LANES)) {
            let mut v = s.get(&self.sums[at..]);
            if let Some(bias) = self.bias {
                v = s.add(v, s.get(&bias[at..]));
            }
            if let Some(residual) = self.residual {
                v = s.add(v, s.get(&residual[at..]));
            }
            s.put(out, activate(s, self.epilogue.activation, v));
        }
    }
}
