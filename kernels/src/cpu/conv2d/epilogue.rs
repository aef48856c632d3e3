//! The end of a product.

use crate::params::Activation;

/// The fused epilogue of a convolution or linear layer, applied before the result is stored:
/// `y = activation(product + bias + residual)`. The default does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[O]`.
    pub bias: Option<&'a [f32]>,
    /// Has the output's layout.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// Asserts that the lengths match an output of `len` floats in rows of `columns`.
    pub(in crate::cpu) fn check(&self, columns: usize, len: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() == columns), "the bias has one value per column");
        assert!(
            self.residual.is_none_or(|residual| residual.len() == len),
            "the residual has the output's length"
        );
    }
}
