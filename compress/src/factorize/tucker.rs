//! Tucker decomposition along the channels (Kim et al. 2016, "Compression of deep convolutional neural networks for fast
//! and low power mobile applications", section 3.1).
//!
//! ```text
//!   W[o, i, j, c] ≈ Σ_{r, s} U[o, r] · G[r, i, j, s] · V[c, s]
//! ```
//!
//! U holds the leading singular vectors of the unfolding `[O, KH·KW·C]`, V those of `[C, O·KH·KW]`, and G = W projected
//! onto both (De Lathauwer et al. 2000: the higher-order singular value decomposition). The projections are orthogonal,
//! so that `‖W − Ŵ‖² = ‖W‖² − ‖G‖²`, which is at most the sum of the two tails.

use super::rule::Rule;
use super::split::{factor, last};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par, Side};
use lopper_engine::layer::Conv2d;
use lopper_engine::memory::bytes_of;
use lopper_engine::{Layer, Tensor};

/// Factors of a weight, and how far their product is from it.
pub(super) struct Tucker {
    /// The three layers.
    pub layers: Vec<Layer>,
    /// `[R, S]`: output and input channels of the core.
    pub ranks: [usize; 2],
    /// `‖W − Ŵ‖ / ‖W‖`.
    pub error: f64,
}

/// Bytes that the decomposition of a weight of `shape` takes: in f64 the weight twice, and for each mode a Gram matrix with
/// its eigenvectors and the solver's copies.
pub(super) fn bytes(shape: &[usize]) -> u64 {
    let weight = bytes_of::<f64>(shape.iter().copied().chain([3]));
    let mode = |n: usize| bytes_of::<f64>([5, n, n]);
    [shape[0], shape[3]].into_iter().map(mode).fold(weight, u64::saturating_add)
}

/// The factors of `weight` `[O, KH, KW, C]`, which replace `conv`. None if the decomposition does not converge.
pub(super) fn split(conv: &Conv2d, weight: &Tensor, rule: Rule) -> Option<Tucker> {
    let &[o, kh, kw, c] = weight.shape() else { return None };
    let (taps, rule) = (kh * kw, rule.of_two_modes());
    let w = |o: usize, tap: usize, c_: usize| f64::from(weight.data()[(o * taps + tap) * c + c_]);
    let by_output = Mat::from_fn(o, taps * c, |row, column| w(row, column / c, column % c));
    let by_input = Mat::from_fn(c, o * taps, |row, column| w(column / taps, column % taps, row));
    let u = Mode::of(&by_output, rule)?;
    let v = Mode::of(&by_input, rule)?;
    let [r, s] = [u.vectors.ncols(), v.vectors.ncols()];
    // [R, KH·KW·C], then each tap's [R, C] times V.
    let mut projected = Mat::<f64>::zeros(r, taps * c);
    matmul(projected.as_mut(), Accum::Replace, u.vectors.transpose(), by_output.as_ref(), 1.0, Par::Seq);
    let mut core = Mat::<f64>::zeros(r, taps * s);
    for tap in 0..taps {
        let (to, from) = (core.as_mut().subcols_mut(tap * s, s), projected.as_ref().subcols(tap * c, c));
        matmul(to, Accum::Replace, from, v.vectors.as_ref(), 1.0, Par::Seq);
    }
    let (whole, kept) = (by_output.norm_l2().powi(2), core.norm_l2().powi(2));
    let error = if whole == 0.0 { 0.0 } else { ((whole - kept).max(0.0) / whole).sqrt() };
    // One learning rate suits all factors if their norms are alike: the core's scale is shared.
    let scale = if kept == 0.0 { 1.0 } else { (core.norm_l2() / (r.max(s) as f64).sqrt()).cbrt() };
    let first = Tensor::from_fn(&[s, 1, 1, c], |i| (v.vectors[(i % c, i / c)] * scale) as f32);
    let middle = Tensor::from_fn(&[r, kh, kw, s], |i| {
        let (row, column) = (i / (taps * s), i % (taps * s));
        (core[(row, column)] / (scale * scale)) as f32
    });
    let end = Tensor::from_fn(&[o, 1, 1, r], |i| (u.vectors[(i / r, i % r)] * scale) as f32);
    let layers = vec![
        factor(conv, first, [false, false], 1),
        factor(conv, middle, [true, true], 1),
        last(conv, factor(conv, end, [false, false], 1)),
    ];
    Some(Tucker { layers, ranks: [r, s], error })
}

/// The leading left singular vectors of an unfolding, `[n, rank]`.
struct Mode {
    vectors: Mat<f64>,
}

impl Mode {
    /// The vectors of `matrix`, as many as `rule` says.
    fn of(matrix: &Mat<f64>, rule: Rule) -> Option<Self> {
        let (n, m) = (matrix.nrows(), matrix.ncols());
        let mut gram = Mat::<f64>::zeros(n, n);
        matmul(gram.as_mut(), Accum::Replace, matrix.as_ref(), matrix.transpose(), 1.0, Par::Seq);
        let eigen = gram.self_adjoint_eigen(Side::Lower).ok()?;
        let values = eigen.S().column_vector();
        let squares: Vec<f64> = (0..n).rev().map(|i| values[i].max(0.0)).take(n.min(m)).collect();
        let rank = rule.rank(&squares, [n.min(m), n.max(m)]);
        let all = eigen.U();
        Some(Self { vectors: Mat::from_fn(n, rank, |i, k| all[(i, n - 1 - k)]) })
    }
}
