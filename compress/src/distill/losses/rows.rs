//! Matrices of logits in f64, and softmax over their rows.

use lopper_engine::{Error, Result, Tensor};

/// A matrix `[N, K]`: a row of logits for each image.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    /// Rows of `width` values.
    ///
    /// # Errors
    /// If `values` do not fill rows.
    pub fn new(values: Vec<f64>, width: usize) -> Result<Self> {
        match width > 0 && !values.is_empty() && values.len().is_multiple_of(width) {
            true => Ok(Self { values, width }),
            false => {
                let found = values.len();
                Err(Error::invalid(format!(
                    "distillation: expected rows of {width} logits, found {found} values"
                )))
            }
        }
    }

    /// The logits `[N, K]`, fetched from their device.
    pub fn of(logits: &Tensor) -> Result<Self> {
        logits.fetch()?;
        let width = logits.shape().last().copied().unwrap_or(0);
        Self::new(logits.data().iter().copied().map(f64::from).collect(), width)
    }

    /// N.
    pub fn count(&self) -> usize {
        self.values.len() / self.width
    }

    /// K.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The rows.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.width)
    }

    /// The matrix with row n replaced by `f(n, row)`.
    pub(super) fn map(&self, mut f: impl FnMut(usize, &[f64]) -> Vec<f64>) -> Self {
        let values = self.iter().enumerate().flat_map(|(n, row)| f(n, row)).collect();
        Self { values, width: self.width }
    }

    pub(super) fn into_values(self) -> Vec<f64> {
        self.values
    }

    /// Column k.
    pub(super) fn column(&self, k: usize) -> Vec<f64> {
        self.iter().map(|row| row[k]).collect()
    }

    pub(super) fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }
}

/// `x − log Σ exp(x)`.
pub(super) fn log_softmax(x: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let max = x.clone().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = x.clone().map(|v| (v - max).exp()).sum();
    x.map(|v| v - max - total.ln()).collect()
}

/// The gradient by x of a function of `p = softmax(x)` whose gradient by p is `g`: `p · (g − Σ p·g)`.
pub(super) fn softmax_back(p: &[f64], g: &[f64]) -> Vec<f64> {
    let mean: f64 = p.iter().zip(g).map(|(p, g)| p * g).sum();
    p.iter().zip(g).map(|(p, g)| p * (g - mean)).collect()
}
