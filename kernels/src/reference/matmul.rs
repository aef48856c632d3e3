//! Matrix products.

use super::Float;
use crate::params::Trans;
use crate::shapes::Matmul;

/// `C = op(A)·op(B)`, or `C += …` with `accumulate`.
pub fn gemm<F: Float>(g: &Matmul, a: &[F], b: &[F], accumulate: bool, c: &mut [F]) {
    let Matmul { ta, tb, m, n, k } = *g;
    assert_eq!([a.len(), b.len(), c.len()], g.lens());
    for i in 0..m {
        for j in 0..n {
            let mut sum = F::ZERO;
            for p in 0..k {
                sum += at(ta, a, [m, k], i, p) * at(tb, b, [k, n], p, j);
            }
            c[i * n + j] = if accumulate { c[i * n + j] + sum } else { sum };
        }
    }
}

/// `y = A·x` (`x` has `n` elements, `y` has `m`) or `y = Aᵀ·x` (`x` has `m`, `y` has `n`), with `A` stored as
/// `[m, n]`.
pub fn gemv<F: Float>(ta: Trans, m: usize, n: usize, a: &[F], x: &[F], y: &mut [F]) {
    let (rows, inner) = if ta == Trans::No { (m, n) } else { (n, m) };
    gemm(&Matmul::new([ta, Trans::No], [rows, 1, inner]), a, x, false, y);
}

/// Element `(i, j)` of `op(matrix)`, whose shape is `[rows, cols]`.
fn at<F: Float>(trans: Trans, matrix: &[F], [rows, cols]: [usize; 2], i: usize, j: usize) -> F {
    match trans {
        Trans::No => matrix[i * cols + j],
        Trans::Yes => matrix[j * rows + i],
    }
}
