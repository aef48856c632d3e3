//! The matrix product.

/// Whether a matrix is read as stored or transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trans {
    /// As stored, row-major.
    No,
    /// Transposed: element `(i, j)` is stored at row `j`, column `i`.
    Yes,
}

/// A matrix product `C = op(A)·op(B)`, where `op` transposes or does nothing. All matrices are row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Matmul {
    /// Rows of `C` and of `op(A)`.
    pub m: usize,
    /// Columns of `C` and of `op(B)`.
    pub n: usize,
    /// Terms per sum: columns of `op(A)`, rows of `op(B)`.
    pub k: usize,
    /// Whether `A` is stored `[k, m]` instead of `[m, k]`.
    pub ta: Trans,
    /// Whether `B` is stored `[n, k]` instead of `[k, n]`.
    pub tb: Trans,
}

impl Matmul {
    /// The product of sizes `[m, n, k]`.
    pub fn new([ta, tb]: [Trans; 2], [m, n, k]: [usize; 3]) -> Self {
        Self { m, n, k, ta, tb }
    }

    /// The lengths of A, B and C.
    pub fn lens(&self) -> [usize; 3] {
        [self.m * self.k, self.k * self.n, self.m * self.n]
    }
}
