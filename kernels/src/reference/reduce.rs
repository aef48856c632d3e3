//! Sums.

use super::Float;

/// `out[c] = Σ_row x[row, c]` for `x` `[rows, c]`: the gradient of a bias.
pub fn sum_rows<F: Float>(rows: usize, c: usize, x: &[F], out: &mut [F]) {
    assert_eq!((x.len(), out.len()), (rows * c, c));
    out.fill(F::ZERO);
    for (i, &x) in x.iter().enumerate() {
        out[i % c] += x;
    }
}

/// The sum of all elements.
pub fn sum<F: Float>(x: &[F]) -> F {
    x.iter().copied().sum()
}
