//! The singular values of a weight matrix, and its best low-rank approximations.
//!
//! With `W [OUT, IN]` and m the shorter side, the eigenvectors of the m × m Gram matrix `WWᵀ` (or `WᵀW`) are the
//! singular vectors of that side, and its eigenvalues are σ². The other side's vectors are never needed: by Eckart &
//! Young (1936) the best approximation of rank r is the projection `U_r (U_rᵀ W)`.
//!
//! Squaring halves the number of correct digits: in f64, singular values are accurate to 10⁻⁸ of the largest, about the
//! precision of f32 weights. In return a 4096 × 25088 matrix takes seconds instead of the minutes of a
//! bidiagonalization, and `W` is read a panel at a time. Everything runs on one thread, so that equal machines give
//! equal bits.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, Par, Side};
use lopper_engine::Tensor;
use lopper_engine::memory::bytes_of;
use std::ops::Range;

/// The number of columns (or rows) of the long side that are held as f64 at a time.
const PANEL: usize = 512;

/// A matrix with its singular values and the singular vectors of its shorter side.
pub(super) struct Svd {
    /// `[OUT, IN]`.
    matrix: Tensor,
    /// Singular vectors of the shorter side, one per column, by ascending σ.
    vectors: Mat<f64>,
    /// σ² in descending order.
    squares: Vec<f64>,
}

impl Svd {
    /// Bytes that the decomposition of a matrix of these sides takes, and its factors of full rank: in f64 the Gram
    /// matrix, its eigenvectors, the solver's two copies, a basis, and panels.
    pub fn bytes(outputs: usize, inputs: usize) -> u64 {
        let (short, long) = (outputs.min(inputs), outputs.max(inputs));
        let factors = bytes_of::<f32>([short, long]).saturating_add(bytes_of::<f32>([short, short]));
        bytes_of::<f64>([5, short, short])
            .saturating_add(bytes_of::<f64>([2, PANEL, short]))
            .saturating_add(factors.saturating_mul(2))
    }

    /// The decomposition of `matrix`, whose values must be finite. None if it does not converge.
    pub fn new(matrix: Tensor) -> Option<Self> {
        let short = matrix.dim(0).min(matrix.dim(1));
        let mut gram = Mat::<f64>::zeros(short, short);
        for range in panels(&matrix) {
            let panel = panel(&matrix, range);
            let (dense, lower) = (BlockStructure::Rectangular, BlockStructure::TriangularLower);
            let (left, right) = (panel.as_ref(), panel.transpose());
            triangular::matmul(gram.as_mut(), lower, Accum::Add, left, dense, right, dense, 1.0, Par::Seq);
        }
        let eigen = gram.self_adjoint_eigen(Side::Lower).ok()?;
        let values = eigen.S().column_vector();
        // Zero eigenvalues of a low-rank matrix may come out slightly negative.
        let squares = (0..short).rev().map(|i| values[i].max(0.0)).collect();
        Some(Self { matrix, vectors: eigen.U().to_owned(), squares })
    }

    /// The singular values, the largest first.
    pub fn values(&self) -> Vec<f64> {
        self.squares.iter().map(|square| square.sqrt()).collect()
    }

    /// The squares of the singular values, the largest first.
    pub fn squares(&self) -> &[f64] {
        &self.squares
    }

    /// `[short, long]`: the sides of the matrix.
    pub fn sides(&self) -> [usize; 2] {
        let (outputs, inputs) = (self.matrix.dim(0), self.matrix.dim(1));
        [outputs.min(inputs), outputs.max(inputs)]
    }

    /// `A [rank, IN]` and `B [OUT, rank]` with `B·A` the best approximation of that rank. Each σ is split evenly, √σ to
    /// each factor. Both factors then have the same norm, so one learning rate suits both.
    pub fn factors(&self, rank: usize) -> (Tensor, Tensor) {
        let short = self.squares.len();
        let basis = Mat::from_fn(short, rank, |i, r| self.vectors[(i, short - 1 - r)]);
        let long = self.matrix.dim(0).max(self.matrix.dim(1));
        let mut projection = Mat::<f64>::zeros(rank, long);
        for range in panels(&self.matrix) {
            let panel = panel(&self.matrix, range.clone());
            let part = projection.as_mut().subcols_mut(range.start, range.len());
            matmul(part, Accum::Replace, basis.transpose(), panel.as_ref(), 1.0, Par::Seq);
        }
        // The norm of a projected row is σ, which is accurate even for the smallest σ.
        let split: Vec<f64> = (0..rank).map(|r| projection.row(r).norm_l2().sqrt()).collect();
        let scale = |r: usize| if split[r] == 0.0 { 0.0 } else { split[r].recip() };
        let short_factor = |i: usize, r: usize| (basis[(i, r)] * split[r]) as f32;
        let long_factor = |r: usize, j: usize| (projection[(r, j)] * scale(r)) as f32;
        let (outputs, inputs) = (self.matrix.dim(0), self.matrix.dim(1));
        match outputs <= inputs {
            true => (
                Tensor::from_fn(&[rank, inputs], |i| long_factor(i / inputs, i % inputs)),
                Tensor::from_fn(&[outputs, rank], |i| short_factor(i / rank, i % rank)),
            ),
            false => (
                Tensor::from_fn(&[rank, inputs], |i| short_factor(i % inputs, i / inputs)),
                Tensor::from_fn(&[outputs, rank], |i| long_factor(i % rank, i / rank)),
            ),
        }
    }
}

/// The panels of the long side.
fn panels(matrix: &Tensor) -> impl Iterator<Item = Range<usize>> {
    let long = matrix.dim(0).max(matrix.dim(1));
    (0..long).step_by(PANEL).map(move |start| start..(start + PANEL).min(long))
}

/// `range` of the long side as columns, the short side as rows.
fn panel(matrix: &Tensor, range: Range<usize>) -> Mat<f64> {
    let (outputs, inputs) = (matrix.dim(0), matrix.dim(1));
    let (data, start) = (matrix.data(), range.start);
    match outputs <= inputs {
        true => Mat::from_fn(outputs, range.len(), |i, j| f64::from(data[i * inputs + start + j])),
        false => Mat::from_fn(inputs, range.len(), |i, j| f64::from(data[(start + j) * inputs + i])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factorize::rule::{rank_for, relative_error};
    use crate::testing::linear;
    use lopper_engine::Layer;

    fn product(a: &Tensor, b: &Tensor) -> Vec<f64> {
        let (rank, inputs) = (a.dim(0), a.dim(1));
        let entry = |o: usize, i: usize| {
            (0..rank).map(|r| f64::from(b.data()[o * rank + r]) * f64::from(a.data()[r * inputs + i])).sum()
        };
        (0..b.dim(0)).flat_map(|o| (0..inputs).map(move |i| (o, i))).map(|(o, i)| entry(o, i)).collect()
    }

    fn distance(w: &Tensor, product: &[f64]) -> f64 {
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
        let mut gap = w.data().iter().zip(product).map(|(&w, p)| f64::from(w) - p);
        norm(&mut gap) / norm(&mut w.data().iter().map(|&w| f64::from(w)))
    }

    #[test]
    fn the_error_of_each_rank_is_the_tail_of_the_singular_values() {
        // Shapes on both sides of square, and longer than a panel.
        for (outputs, inputs) in [(7, 19), (19, 7), (12, 12), (5, 1200), (1200, 5)] {
            let Layer::Linear(layer) = linear(outputs, inputs) else { unreachable!() };
            let w = layer.weight.value();
            let svd = Svd::new(w.clone()).unwrap();
            let full = outputs.min(inputs);
            for rank in 1..=full {
                let (a, b) = svd.factors(rank);
                assert_eq!((a.shape(), b.shape()), (&[rank, inputs][..], &[outputs, rank][..]));
                let error = distance(w, &product(&a, &b));
                assert!(
                    (error - relative_error(svd.squares(), rank)).abs() < 1e-6,
                    "{outputs}×{inputs} rank {rank}: {error}"
                );
            }
            assert!(relative_error(svd.squares(), full) < 1e-7);
            let energy = 1.0 - relative_error(svd.squares(), 3).powi(2);
            assert_eq!(rank_for(svd.squares(), energy - 1e-9), 3);
        }
    }

    #[test]
    fn a_matrix_of_low_rank_is_recovered_by_that_rank() {
        let Layer::Linear(a) = linear(3, 40) else { unreachable!() };
        let Layer::Linear(b) = linear(30, 3) else { unreachable!() };
        let w = Tensor::from_vec(
            &[30, 40],
            product(a.weight.value(), b.weight.value()).iter().map(|&x| x as f32).collect(),
        )
        .unwrap();
        let svd = Svd::new(w.clone()).unwrap();
        assert_eq!(rank_for(svd.squares(), 1.0 - 1e-12), 3);
        let (first, second) = svd.factors(30);
        assert!(first.data().iter().chain(second.data()).all(|x| x.is_finite()));
        assert!(distance(&w, &product(&first, &second)) < 1e-6);
    }
}
