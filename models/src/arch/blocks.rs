//! Blocks that several architectures share, under torchvision's names.

use crate::builder::{Builder, Conv};
use lopper_engine::layer::Activation;
use std::fmt::Display;

/// Constants of a batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Norm {
    /// Weight of a batch in the running statistics.
    pub momentum: f32,
    /// ε.
    pub eps: f32,
}

impl Norm {
    /// PyTorch's defaults.
    pub(super) const PYTORCH: Self = Self { momentum: 0.1, eps: 1e-5 };
    /// TensorFlow's defaults: a momentum of 0.99, in its notation.
    pub(super) const TENSORFLOW: Self = Self { momentum: 0.01, eps: 1e-3 };
}

/// Adds a convolution, its batch norm and an activation as the modules `name.0`, `name.1` and `name.2`, as
/// torchvision's `Conv2dNormActivation` calls them. [`Activation::None`] adds no layer.
pub(super) fn conv_norm(
    net: &mut Builder,
    name: impl Display,
    conv: Conv,
    norm: Norm,
    activation: Activation,
) {
    net.within(name, |net| {
        net.conv(0, conv).batch_norm_with(1, norm.momentum, norm.eps);
        if activation != Activation::None {
            net.activation(2, activation);
        }
    });
}
