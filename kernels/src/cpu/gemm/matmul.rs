//! Matrix products on the tile kernel.
//!
//! ```text
//!   for panel of up to 48 columns, block of rows        one task
//!     for chunk of 512 steps of the reduction
//!       pack B: 512 × NR floats, L2 cache
//!       for tile of 8 rows                              A in place, through row pointers and a step
//!         C (+)= A · B
//! ```

use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::gemm::panels::{Panel, split_columns};
use crate::cpu::gemm::strided::Strided;
use crate::cpu::gemm::tile::{MAX_MR, MAX_NR, Rows, Tile};
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::simd::{Kernel, Simd};
use crate::params::Trans;
use crate::shapes::Matmul;
use rayon::prelude::*;
use std::ops::Range;

/// The number of steps of the reduction packed at a time.
const CHUNK: usize = 512;
/// The number of rows of C that share a packed chunk in a task, if there are enough.
const ROWS: usize = 512;

/// Computes `C = op(A) · op(B)`, or `C += …` with `accumulate`. The matrices are those of [`Matmul`].
pub fn gemm(cpu: &Cpu, g: &Matmul, a: &[f32], b: &[f32], accumulate: bool, c: &mut [f32]) {
    let Matmul { ta, tb, m, n, k } = *g;
    assert_eq!([a.len(), b.len(), c.len()], g.lens(), "the matrices have the lengths of their shapes");
    if k == 0 {
        if !accumulate {
            c.fill(0.0);
        }
        return;
    }
    let (row_step, k_step) = match ta {
        Trans::No => (k, 1),
        Trans::Yes => (1, m),
    };
    let b = match tb {
        Trans::No => Strided { data: b, k_step: n, j_step: 1, columns: None },
        Trans::Yes => Strided { data: b, k_step: 1, j_step: k, columns: None },
    };
    let panels = split_columns(cpu.backend.tiles(Types::F32), n, 0, 0);
    let product = Product { a, row_step, k_step, b, n, k, accumulate };
    let blocks = m.div_ceil(ROWS);
    let c = Shared::new(c);
    cpu.run(|| {
        (0..blocks * panels.len()).into_par_iter().with_max_len(1).for_each(|task| {
            let (panel, first) = (&panels[task / blocks], task % blocks * ROWS);
            cpu.with_workspace(|workspace| product.task(panel, first..(first + ROWS).min(m), c, workspace));
        });
    });
}

/// The operands of a product, with their strides.
struct Product<'a> {
    a: &'a [f32],
    row_step: usize,
    k_step: usize,
    b: Strided<'a>,
    n: usize,
    k: usize,
    accumulate: bool,
}

impl Product<'_> {
    fn task(&self, panel: &Panel, rows: Range<usize>, c: Shared, workspace: &mut Workspace) {
        let packed = Workspace::floats(&mut workspace.floats, CHUNK * MAX_NR);
        for first_k in (0..self.k).step_by(CHUNK) {
            let len = CHUNK.min(self.k - first_k);
            let bytes = bytemuck::cast_slice_mut(packed);
            panel.kernel.pack(&self.b, first_k..first_k + len, panel.columns(), bytes);
            for row in rows.clone().step_by(panel.kernel.mr) {
                let m = panel.kernel.mr.min(rows.end - row);
                // Rows that do not exist repeat the last one; their results are not stored.
                let start = |i: usize| (row + i.min(m - 1)) * self.row_step + first_k * self.k_step;
                let pointers: [*const f32; MAX_MR] = std::array::from_fn(|i| self.a[start(i)..].as_ptr());
                let out: [usize; MAX_MR] = std::array::from_fn(|i| (row + i) * self.n);
                let rows = Rows {
                    rows: pointers.as_ptr(),
                    segments: 1,
                    len,
                    row_stride: MAX_MR,
                    a_offset: 0,
                    a_step: self.k_step,
                };
                let c = c.as_mut_ptr().wrapping_add(panel.start);
                let accumulate = self.accumulate || first_k > 0;
                let tile =
                    Tile::new(rows, bytemuck::cast_slice(packed), c, &out, [m, panel.width], accumulate);
                // SAFETY: the kernel comes from a backend that this machine supports. Row `i` of A has `len` elements
                // from `first_k` on, and B has `len` rows of `nr` floats. Only this task writes these rows of the
                // panel's columns of C.
                unsafe { (panel.kernel.run)(&tile) }
            }
        }
    }
}

/// Computes `y = A · x`, or `y = Aᵀ · x` with `Trans::Yes`. A is stored as `m × n`, row-major. The speed is bound by
/// reading A once.
pub fn gemv(cpu: &Cpu, ta: Trans, m: usize, n: usize, a: &[f32], x: &[f32], y: &mut [f32]) {
    let (inputs, outputs) = match ta {
        Trans::No => (n, m),
        Trans::Yes => (m, n),
    };
    assert_eq!(
        (a.len(), x.len(), y.len()),
        (m * n, inputs, outputs),
        "the operands have the lengths of their shapes"
    );
    if n == 0 || m == 0 {
        return y.fill(0.0);
    }
    cpu.run(|| match ta {
        Trans::No => {
            const ROWS: usize = 16;
            y.par_chunks_mut(ROWS).zip(a.par_chunks(ROWS * n)).for_each(|(y, a)| {
                for (y, row) in y.iter_mut().zip(a.chunks_exact(n)) {
                    *y = cpu.dispatch(Dot { a: row, x });
                }
            });
        }
        Trans::Yes => {
            const COLUMNS: usize = 1024;
            y.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, y)| {
                cpu.dispatch(WeightedRows { a: &a[block * COLUMNS..], n, x, y });
            });
        }
    });
}

/// Computes `Σ_i a[i] · x[i]` with eight independent sums.
struct Dot<'a> {
    a: &'a [f32],
    x: &'a [f32],
}

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        const SUMS: usize = 8;
        let mut sums = [s.zero(); SUMS];
        for (a, x) in self.a.chunks(SUMS * S::LANES).zip(self.x.chunks(SUMS * S::LANES)) {
            for ((a, x), sum) in a.chunks(S::LANES).zip(x.chunks(S::LANES)).zip(&mut sums) {
                *sum = s.fma(s.get(a), s.get(x), *sum);
            }
        }
        let mut half = SUMS / 2;
        while half > 0 {
            for i in 0..half {
                sums[i] = s.add(sums[i], sums[i + half]);
            }
            half /= 2;
        }
        s.sum(sums[0])
    }
}

/// Computes `y = Σ_i x[i] · a[i · n ..]` for a block of columns, which stays in the L1 cache.
struct WeightedRows<'a> {
    a: &'a [f32],
    n: usize,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for WeightedRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.y.fill(0.0);
        let width = self.y.len();
        for (&x, row) in self.x.iter().zip(self.a.chunks(self.n)) {
            let weight = s.splat(x);
            for (y, a) in self.y.chunks_mut(S::LANES).zip(row[..width].chunks(S::LANES)) {
                s.put(y, s.fma(weight, s.get(a), s.get(y)));
            }
        }
    }
}
