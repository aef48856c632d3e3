//! CP decomposition: a sum of products of vectors (Lebedev et al. 2015, "Speeding-up convolutional neural networks using
//! fine-tuned CP-decomposition", section 3.2).
//!
//! ```text
//!   W[o, i, j, c] ≈ Σ_r U[o, r] · P[i, r] · Q[j, r] · V[c, r]
//! ```
//!
//! The factors are found by alternating least squares: with all but one fixed, the best one solves `F · Γ = M` where Γ is
//! the elementwise product of the others' Gram matrices and M the product of W with the others. A sweep takes two matrix
//! products with W. It starts from the higher-order singular vectors whose products carry the most of W, so that the
//! result is the same every time.

use super::split::{factor, last};
use faer::linalg::matmul::matmul;
use faer::linalg::solvers::Solve;
use faer::{Accum, Mat, Par, Side};
use lopper_engine::layer::Conv2d;
use lopper_engine::memory::bytes_of;
use lopper_engine::{Layer, Tensor};

/// The most sweeps, and the gain of the relative error, squared, below which they end.
const SWEEPS: usize = 60;
const GAIN: f64 = 1e-7;
/// Added to Γ's diagonal, as a fraction of its mean: products of vectors that are nearly alike stay bounded.
const RIDGE: f64 = 1e-9;

/// Factors of a weight, and how far their product is from it.
pub(super) struct Cp {
    /// U `[O, R]`, P `[KH, R]`, Q `[KW, R]` and V `[C, R]`.
    factors: [Mat<f64>; 4],
    /// `‖W − Ŵ‖ / ‖W‖`.
    pub error: f64,
}

/// The rank at which the factors of a weight of `shape` have as many values as the weight.
pub(super) fn full_rank(shape: &[usize]) -> usize {
    let &[o, kh, kw, c] = shape else { return 1 };
    ((o * kh * kw * c) / (o + kh + kw + c)).clamp(1, kh * kw * c)
}

/// Bytes that the decomposition takes at `rank`: in f64 the weight, three matrices of its products, and Γ with its
/// factorization.
pub(super) fn bytes(shape: &[usize], rank: usize) -> u64 {
    let columns: usize = shape.iter().skip(1).product();
    bytes_of::<f64>(shape.iter().copied().chain([2]))
        .saturating_add(bytes_of::<f64>([3, columns, rank]))
        .saturating_add(bytes_of::<f64>([4, rank, rank]))
}

impl Cp {
    /// The decomposition of `weight` `[O, KH, KW, C]` at `rank`, at most KH·KW·C. None if it does not converge.
    pub fn new(weight: &Tensor, rank: usize) -> Option<Self> {
        let &[o, kh, kw, c] = weight.shape() else { return None };
        let columns = kh * kw * c;
        let x = Mat::from_fn(o, columns, |i, j| f64::from(weight.data()[i * columns + j]));
        let whole = x.norm_l2().powi(2);
        let mut factors = start(&x, [o, kh, kw, c], rank)?;
        let (mut error, mut previous) = (1.0, f64::INFINITY);
        for _ in 0..SWEEPS {
            let inner = sweep(&x, [kh, kw, c], &mut factors)?;
            let model = gamma(&factors, 4).iter().sum::<f64>();
            error = if whole == 0.0 { 0.0 } else { ((whole - 2.0 * inner + model) / whole).max(0.0) };
            if previous - error < GAIN {
                break;
            }
            previous = error;
        }
        error.is_finite().then(|| Self { factors, error: error.sqrt() })
    }

    /// The four layers that replace `conv`. Each vector's scale is shared by the four.
    pub fn layers(&self, conv: &Conv2d) -> Vec<Layer> {
        let [u, p, q, v] = &self.factors;
        let (rank, [kh, kw]) = (u.ncols(), conv.kernel());
        let norms = |r: usize| self.factors.each_ref().map(|factor| factor.col(r).norm_l2());
        let shared: Vec<[f64; 4]> = (0..rank)
            .map(|r| {
                let norms = norms(r);
                let each = norms.iter().product::<f64>().powf(0.25);
                norms.map(|norm| if norm == 0.0 { 0.0 } else { each / norm })
            })
            .collect();
        let (o, c) = (conv.out_channels(), conv.in_channels());
        let value =
            |factor: &Mat<f64>, which: usize, i: usize, r: usize| (factor[(i, r)] * shared[r][which]) as f32;
        let first = Tensor::from_fn(&[rank, 1, 1, c], |i| value(v, 3, i % c, i / c));
        let vertical = Tensor::from_fn(&[rank, kh, 1, 1], |i| value(p, 1, i % kh, i / kh));
        let horizontal = Tensor::from_fn(&[rank, 1, kw, 1], |i| value(q, 2, i % kw, i / kw));
        let end = Tensor::from_fn(&[o, 1, 1, rank], |i| value(u, 0, i / rank, i % rank));
        vec![
            factor(conv, first, [false, false], 1),
            factor(conv, vertical, [true, false], rank),
            factor(conv, horizontal, [false, true], rank),
            last(conv, factor(conv, end, [false, false], 1)),
        ]
    }
}

/// One sweep over the factors; returns ⟨W, Ŵ⟩ behind it. All but V have columns of norm 1.
fn sweep(x: &Mat<f64>, [kh, kw, c]: [usize; 3], factors: &mut [Mat<f64>; 4]) -> Option<f64> {
    let rank = factors[0].ncols();
    let products = {
        let [_, p, q, v] = &*factors;
        // Column-major: each column is the product of three vectors.
        Mat::from_fn(kh * kw * c, rank, |i, r| p[(i / (kw * c), r)] * q[(i / c % kw, r)] * v[(i % c, r)])
    };
    let mut m = Mat::<f64>::zeros(x.nrows(), rank);
    matmul(m.as_mut(), Accum::Replace, x.as_ref(), products.as_ref(), 1.0, Par::Seq);
    factors[0] = normalized(solve(&gamma(factors, 0), m)?);
    let mut seen = Mat::<f64>::zeros(kh * kw * c, rank);
    matmul(seen.as_mut(), Accum::Replace, x.transpose(), factors[0].as_ref(), 1.0, Par::Seq);
    let mut inner = 0.0;
    for which in 1..4 {
        let mut m = Mat::<f64>::zeros(factors[which].nrows(), rank);
        for r in 0..rank {
            for i in 0..kh * kw * c {
                let at = [i / (kw * c), i / c % kw, i % c];
                let others =
                    (1..4).filter(|&other| other != which).map(|other| factors[other][(at[other - 1], r)]);
                m[(at[which - 1], r)] += seen[(i, r)] * others.product::<f64>();
            }
        }
        let solved = solve(&gamma(factors, which), m.clone())?;
        if which == 3 {
            inner = (0..rank).map(|r| (0..c).map(|i| m[(i, r)] * solved[(i, r)]).sum::<f64>()).sum();
        }
        factors[which] = if which == 3 { solved } else { normalized(solved) };
    }
    Some(inner)
}

/// The elementwise product of the Gram matrices of all factors but `left_out`, `[R, R]` row-major.
fn gamma(factors: &[Mat<f64>; 4], left_out: usize) -> Vec<f64> {
    let rank = factors[0].ncols();
    let mut product = vec![1.0; rank * rank];
    for (_, factor) in factors.iter().enumerate().filter(|(which, _)| *which != left_out) {
        let mut gram = Mat::<f64>::zeros(rank, rank);
        matmul(gram.as_mut(), Accum::Replace, factor.transpose(), factor.as_ref(), 1.0, Par::Seq);
        product.iter_mut().enumerate().for_each(|(i, value)| *value *= gram[(i / rank, i % rank)]);
    }
    product
}

/// F with `F Γ = M`. None if Γ is not positive definite even with a ridge.
fn solve(gamma: &[f64], m: Mat<f64>) -> Option<Mat<f64>> {
    let rank = m.ncols();
    let mean = (0..rank).map(|r| gamma[r * rank + r]).sum::<f64>() / rank as f64;
    let ridge = if mean > 0.0 { RIDGE * mean } else { 1.0 };
    let gamma = Mat::from_fn(rank, rank, |i, j| gamma[i * rank + j] + if i == j { ridge } else { 0.0 });
    let transposed = gamma.llt(Side::Lower).ok()?.solve(m.transpose());
    Some(transposed.transpose().to_owned())
}

/// `factor` with columns of norm 1; zeros stay.
fn normalized(mut factor: Mat<f64>) -> Mat<f64> {
    for r in 0..factor.ncols() {
        let norm = factor.col(r).norm_l2();
        if norm > 0.0 {
            (0..factor.nrows()).for_each(|i| factor[(i, r)] /= norm);
        }
    }
    factor
}

/// The first factors: the products of the modes' singular vectors along KH, KW and C that carry the most of `x`.
fn start(x: &Mat<f64>, [o, kh, kw, c]: [usize; 4], rank: usize) -> Option<[Mat<f64>; 4]> {
    let taps = kh * kw;
    let tap = |tap: usize| x.as_ref().subcols(tap * c, c);
    let mut grams = [kh, kw, c].map(|n| Mat::<f64>::zeros(n, n));
    for a in 0..taps {
        matmul(grams[2].as_mut(), Accum::Add, tap(a).transpose(), tap(a), 1.0, Par::Seq);
        for b in 0..taps {
            let ([i, j], [k, l]) = ([a / kw, a % kw], [b / kw, b % kw]);
            if i == k || j == l {
                let product: f64 = (0..c).map(|n| tap(a).col(n).transpose() * tap(b).col(n)).sum();
                // Two taps of a row differ in j, two of a column in i, and a tap belongs to both.
                grams[0][(i, k)] += if j == l { product } else { 0.0 };
                grams[1][(j, l)] += if i == k { product } else { 0.0 };
            }
        }
    }
    let [p, q, v] =
        grams.map(|gram| gram.self_adjoint_eigen(Side::Lower).ok().map(|eigen| eigen.U().to_owned()));
    let modes = [p?, q?, v?];
    let mut rotated = Mat::<f64>::zeros(o, taps * c);
    for a in 0..taps {
        let to = rotated.as_mut().subcols_mut(a * c, c);
        matmul(to, Accum::Replace, tap(a), modes[2].as_ref(), 1.0, Par::Seq);
    }
    // How much of x the product of the vectors k = [row, column, channel] carries: ‖x · (p ⊗ q ⊗ v)‖.
    let carried = |[row, column, channel]: [usize; 3]| {
        let of = |output: usize| {
            let term = |a: usize| {
                modes[0][(a / kw, row)] * modes[1][(a % kw, column)] * rotated[(output, a * c + channel)]
            };
            (0..taps).map(term).sum::<f64>().powi(2)
        };
        (0..o).map(of).sum::<f64>()
    };
    let at = |i: usize| [i / (kw * c), i / c % kw, i % c];
    let mut order: Vec<(usize, f64)> = (0..taps * c).map(|k| (k, carried(at(k)))).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let chosen: Vec<[usize; 3]> = order[..rank].iter().map(|&(k, _)| at(k)).collect();
    let of = |axis: usize, n: usize| Mat::from_fn(n, rank, |i, r| modes[axis][(i, chosen[r][axis])]);
    Some([Mat::zeros(o, rank), of(0, kh), of(1, kw), of(2, c)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conv;

    fn weight(shape: [usize; 4]) -> Tensor {
        let Layer::Conv2d(conv) = conv(shape[0], 1, shape[1] * shape[2] * shape[3], 1) else {
            unreachable!()
        };
        conv.weight.value().reshape(&shape).unwrap()
    }

    /// The weight that the factors make.
    fn product(cp: &Cp, [o, kh, kw, c]: [usize; 4]) -> Vec<f64> {
        let [u, p, q, v] = &cp.factors;
        let entry = |i: usize| {
            let at = [i / (kh * kw * c), i / (kw * c) % kh, i / c % kw, i % c];
            (0..u.ncols()).map(|r| u[(at[0], r)] * p[(at[1], r)] * q[(at[2], r)] * v[(at[3], r)]).sum()
        };
        (0..o * kh * kw * c).map(entry).collect()
    }

    #[test]
    fn a_sum_of_two_products_is_recovered() {
        let shape = [5, 3, 2, 4];
        let vectors = weight([2, 1, 1, 14]);
        let v = |r: usize, i: usize| f64::from(vectors.data()[r * 14 + i]);
        let entry = |i: usize| {
            let at = [i / 24, i / 8 % 3, i / 4 % 2, i % 4];
            (0..2).map(|r| v(r, at[0]) * v(r, 5 + at[1]) * v(r, 8 + at[2]) * v(r, 10 + at[3])).sum::<f64>()
                as f32
        };
        let whole = Tensor::from_fn(&shape, entry);
        let cp = Cp::new(&whole, 2).unwrap();
        assert!(cp.error < 1e-3, "{}", cp.error);
        for (found, expected) in product(&cp, shape).iter().zip(whole.data()) {
            assert!((found - f64::from(*expected)).abs() < 2e-3);
        }
    }

    #[test]
    fn the_error_is_that_of_the_product_and_falls_with_the_rank() {
        for shape in [[6, 3, 3, 4], [3, 1, 5, 7], [1, 2, 2, 1]] {
            let whole = weight(shape);
            let norm: f64 = whole.data().iter().map(|&w| f64::from(w).powi(2)).sum();
            let mut last = f64::INFINITY;
            for rank in 1..=full_rank(&shape) {
                let cp = Cp::new(&whole, rank).unwrap();
                let made = product(&cp, shape);
                let gap = made.iter().zip(whole.data()).map(|(p, &w)| (p - f64::from(w)).powi(2));
                let error = (gap.sum::<f64>() / norm).sqrt();
                assert!((error - cp.error).abs() < 1e-6, "{shape:?} rank {rank}: {error} and {}", cp.error);
                assert!(cp.error <= last + 0.02, "{shape:?} rank {rank}: {} after {last}", cp.error);
                last = cp.error;
            }
        }
    }

    #[test]
    fn equal_weights_give_equal_bits() {
        let shape = [4, 3, 3, 5];
        let [a, b] = [0, 1].map(|_| product(&Cp::new(&weight(shape), 3).unwrap(), shape));
        assert_eq!(a, b);
    }
}
