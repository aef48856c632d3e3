//! Activations and their gradients, element by element.

use super::Float;
use super::elementwise::{map, zip};
use crate::params::Activation;

/// `y = activation(x)`.
pub fn activation_forward<F: Float>(activation: Activation, x: &[F], y: &mut [F]) {
    map(x, y, |x| activation.apply(x));
}

/// The gradient of `x` from the value that [`Activation::saved`] names.
pub fn activation_input_grad<F: Float>(activation: Activation, saved: &[F], dy: &[F], dx: &mut [F]) {
    zip(saved, dy, dx, |saved, dy| activation.gradient(saved, dy));
}
