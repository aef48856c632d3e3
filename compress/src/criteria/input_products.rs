//! The products of a layer's inputs, which second-order criteria and whitened factorization need.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

/// The most input channels whose products are observed: their number is squared.
pub(crate) const MOST_INPUTS: usize = 1024;
/// Pixels of a batch that are observed: more say hardly more.
const PIXELS: usize = 4096;

/// The mean product of each pair of channels of the pixels `x` `[…, C]`: `E[x xᵀ]`, row-major.
pub(crate) fn input_products(x: &[f32], channels: usize) -> Vec<f64> {
    let pixels = x.len() / channels.max(1);
    // Evenly spread, so that all images and places take part.
    let observed = pixels.min(PIXELS);
    let at = |i: usize| i * pixels / observed.max(1) * channels;
    let rows = Mat::from_fn(observed, channels, |i, c| f64::from(x[at(i) + c]));
    let mut products = Mat::<f64>::zeros(channels, channels);
    let mean = 1.0 / observed.max(1) as f64;
    matmul(products.as_mut(), Accum::Replace, rows.transpose(), rows.as_ref(), mean, Par::Seq);
    (0..channels * channels).map(|i| products[(i / channels, i % channels)]).collect()
}
