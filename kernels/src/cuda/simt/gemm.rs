//! f32 matrix products.

use super::tiles::{Blocking, in_parts, kernel};
use crate::cuda::driver::Result;
use crate::cuda::driver::launch::Grid;
use crate::cuda::driver::source::GEMM_F32;
use crate::cuda::ops::{Epilogue, EpilogueArg};
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::{Dtype, Trans};
use crate::shapes::{Linear, Matmul};

/// Up to this many rows of A share each read of a transposed B.
pub const FEW_ROWS: usize = 16;

/// `Product` in `gemm_f32.cu`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Product {
    m: i32,
    n: i32,
    k: i32,
    splits: i32,
    a: u64,
    b: u64,
    c: u64,
    end: EpilogueArg,
}

/// Computes `C = op(A) · op(B)`, or `C += …` with `accumulate`. All matrices are f32.
pub fn gemm(
    cuda: &Cuda,
    g: &Matmul,
    a: &DeviceBuffer,
    b: &DeviceBuffer,
    accumulate: bool,
    c: &mut DeviceBuffer,
) -> Result<()> {
    // To accumulate, C is its own residual: one thread reads and writes each element.
    let mut end = Epilogue::default().arg();
    if accumulate {
        end.residual = c.address();
    }
    product(cuda, g, a, b, end, c)
}

/// Computes `y = activation(x · wᵀ + bias + residual)`: `x` `[N, I]`, `w` `[O, I]` → `y` `[N, O]`.
pub fn linear_forward(
    cuda: &Cuda,
    g: &Linear,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    epilogue.check(g.outputs, y);
    product(cuda, &g.forward(), x, w, epilogue.arg(), y)
}

/// Computes `C = activation(op(A) · op(B) + bias + residual)`; shapes as for [`gemm`]. `end` matches `C`.
fn product(
    cuda: &Cuda,
    g: &Matmul,
    a: &DeviceBuffer,
    b: &DeviceBuffer,
    end: EpilogueArg,
    c: &mut DeviceBuffer,
) -> Result<()> {
    assert_eq!([a.len(), b.len(), c.len()], g.lens(), "the lengths of the matrices match their shapes");
    assert!([a, b, c].iter().all(|matrix| matrix.dtype() == Dtype::F32), "matrices are f32");
    let (Matmul { m, n, k, .. }, trans) = (*g, [g.ta, g.tb]);
    let int = |size: usize| i32::try_from(size).expect("a matrix of fewer than 2³¹ rows and columns");
    let [m_arg, n_arg, k_arg] = [m, n, k].map(int);
    let argument = |splits: usize, c: &DeviceBuffer, end: EpilogueArg| Product {
        m: m_arg,
        n: n_arg,
        k: k_arg,
        splits: splits as i32,
        a: a.address(),
        b: b.address(),
        c: c.address(),
        end,
    };
    if trans == [Trans::No, Trans::Yes] && m <= FEW_ROWS {
        let (name, grid) = thin(m, n);
        let product = [argument(1, c, end)];
        // SAFETY: reads and writes stay below m, n and k, whose products are the lengths (asserted).
        return unsafe { cuda.launch(&GEMM_F32, name, grid, &[(&product).into()]) };
    }
    let blocking = Blocking::new(cuda, 1, m, n, k);
    let name = match trans {
        [Trans::No, Trans::No] => kernel!(blocking.tile, "gemm_nn"),
        [Trans::No, Trans::Yes] => kernel!(blocking.tile, "gemm_nt"),
        [Trans::Yes, Trans::No] => kernel!(blocking.tile, "gemm_tn"),
        [Trans::Yes, Trans::Yes] => kernel!(blocking.tile, "gemm_tt"),
    };
    in_parts(cuda, blocking.splits, n, end, c, |c, end| {
        let product = [argument(blocking.splits, c, end)];
        // SAFETY: reads and writes stay below m, n and k, whose products are the lengths (asserted).
        unsafe { cuda.launch(&GEMM_F32, name, blocking.grid(1, m, n), &[(&product).into()]) }
    })
}

/// The kernel for up to 16 rows times a transposed matrix of `n` rows, and its grid (`thin` in `gemm_f32.cu`).
fn thin(m: usize, n: usize) -> (&'static str, Grid) {
    let (name, rows, outputs) = match m {
        0..=1 => ("gemm_nt_1_row", 1, 1),
        2..=4 => ("gemm_nt_4_rows", 4, 1),
        _ => ("gemm_nt_16_rows", 16, 2),
    };
    const WARPS: usize = 4;
    (name, Grid::of(n.div_ceil(outputs), 32 * WARPS).shared(4 * WARPS * rows * outputs))
}
