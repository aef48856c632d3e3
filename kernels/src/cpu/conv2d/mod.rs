//! Convolution of channels-last images as an implicit matrix product.
//!
//! `y[p, o] = Σ_{tap, c} x[p @ tap, c] · w[o, tap, c]`: rows are output pixels, columns are filters, and the reduction
//! runs over taps and channels. No im2col matrix is built. The tile kernel reads the image in place, through one
//! pointer per pixel and tap ([`windows`]), and multiplies it by weights that are packed once ([`PackedConv2d`]).
//!
//! Dense, masked and compact convolution differ only in which filters are packed, which channels are gathered and where
//! results are stored ([`packed`]). The input gradient is a convolution of `dy` ([`input_grad`]), and the weight gradient
//! is a product that reduces over pixels ([`weight_grad`]).

mod algorithm;
pub(in crate::cpu) mod depthwise;
mod footprint;
mod gather;
mod implicit_gemm;
mod input_grad;
mod layout;
mod packed;
mod padded;
mod partial_sums;
mod scatter;
mod weight_grad;
mod windows;
mod winograd;

pub use algorithm::{Algorithm, Choice, Packing, Weights};
pub use footprint::Footprint;
pub use input_grad::conv2d_input_grad;
pub use packed::{PackedConv2d, conv2d_forward, conv2d_forward_packed};
pub use weight_grad::conv2d_weight_grad;

pub(super) use partial_sums::sum_chunks;
pub(super) use windows::{Windows, tap_offsets};

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
    pub(super) fn check(&self, columns: usize, len: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() == columns), "the bias has one value per column");
        assert!(
            self.residual.is_none_or(|residual| residual.len() == len),
            "the residual has the output's length"
        );
    }
}
