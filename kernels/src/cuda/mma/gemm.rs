//! Matrix products on tensor cores.

use super::output::Output;
use super::slices::{Slices, sum_slices};
use super::tiles::{Kernels, Tile, grades};
use crate::cuda::driver::Result;
use crate::cuda::driver::source::GEMM_MMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::{Activation, Dtype, Trans};
use crate::shapes::Matmul;
use bytemuck::{Pod, Zeroable};

macro_rules! layout {
    ($operation:literal) => {
        Kernels {
            tiles: &[
                (Tile::Square128, grades!($operation, "_128x128")),
                (Tile::Square64, grades!($operation, "_64x64")),
            ],
            any: grades!("gemm_mma_any", ""),
        }
    };
}

/// Rows times rows: both operands are contiguous along k.
const NT: Kernels = layout!("gemm_mma_nt");
/// The second operand is contiguous along n.
const NN: Kernels = layout!("gemm_mma_nn");
/// The first operand is contiguous along m, the second along n.
const TN: Kernels = layout!("gemm_mma_tn");

/// Elements between neighboring rows, and between neighboring k, of each operand.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Steps {
    a: [i32; 2],
    b: [i32; 2],
}

/// Computes `C = op(A)·op(B)`, or `C += op(A)·op(B)` with `accumulate`. A and B have one floating-point type; C has the
/// same type or f32. Sizes are below 2³¹ − 256. A linear layer with a bias and an activation is
/// [`super::conv2d_forward`] on images of one pixel.
pub fn gemm(
    cuda: &Cuda,
    g: &Matmul,
    a: &DeviceBuffer,
    b: &DeviceBuffer,
    accumulate: bool,
    c: &mut DeviceBuffer,
) -> Result<()> {
    let Matmul { ta, tb, m, n, k } = *g;
    assert_eq!([a.len(), b.len(), c.len()], g.lens(), "the lengths of the matrices match their shapes");
    assert_eq!(a.dtype(), b.dtype(), "both factors have the same type");
    assert!(c.dtype() == a.dtype() || c.dtype() == Dtype::F32, "the product has the factors' type, or f32");
    assert!([m, n, k].into_iter().all(|size| size < (1 << 31) - 256), "sizes are below 2³¹ - 256");
    let whole = |size: usize| size.is_multiple_of(a.dtype().lanes());
    let (kernels, vectors) = match (ta, tb) {
        (Trans::No, Trans::Yes) => (&NT, whole(k)),
        (Trans::No, Trans::No) => (&NN, whole(k) && whole(n)),
        (Trans::Yes, Trans::No) => (&TN, whole(m) && whole(n)),
        // No layer uses this.
        (Trans::Yes, Trans::Yes) => (&NT, false),
    };
    let tile = if m > 64 && n > 64 { Tile::Square128 } else { Tile::Square64 };
    let (kernel, tile) = kernels.choose(a.dtype(), vectors, tile);
    let slices = Slices::filling(cuda, tile.blocks(m, n), k, a.dtype());
    let steps = [Steps { a: steps(ta, m, k), b: steps(opposite(tb), n, k) }];
    let output = Output::dense(m, n, Activation::None, c);
    let old = accumulate.then(|| c.slice(0, c.len()));
    let add = Epilogue { residual: old.as_ref(), ..Epilogue::default() };
    sum_slices(cuda, slices.count, output, &add, c, |output, add, sums| {
        let output = [output];
        let args = [
            a.into(),
            b.into(),
            add.residual.into(),
            sums.into(),
            (&output).into(),
            (&steps).into(),
            k.into(),
            slices.len.into(),
        ];
        // SAFETY: rows, columns and k stop at the matrices' sizes (asserted); `sums` has one C for each slice of the
        // grid.
        unsafe { cuda.launch(&GEMM_MMA, kernel, tile.grid(m, n, slices.count), &args) }
    })
}

/// Strides along rows and along k of a matrix of `rows` rows of `k`, stored row-major or transposed.
fn steps(trans: Trans, rows: usize, k: usize) -> [i32; 2] {
    match trans {
        Trans::No => [k as i32, 1],
        Trans::Yes => [1, rows as i32],
    }
}

/// The kernels treat B as rows of k, the transpose of B as a factor.
fn opposite(trans: Trans) -> Trans {
    match trans {
        Trans::No => Trans::Yes,
        Trans::Yes => Trans::No,
    }
}
