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

/// Adds squeeze-and-excitation (Hu et al. 2018) under the module `name`: a gate for each channel, from the means of all
/// channels.
///
/// ```text
/// ─┬───────────────────────────────────────────────── multiply
///  └─ mean over the image ─ conv1×1 ─ inner ─ conv1×1 ─ outer ─┘
/// ```
pub(super) fn squeeze_excite(
    net: &mut Builder,
    name: impl Display,
    squeezed: usize,
    [inner, outer]: [Activation; 2],
) {
    let (input, channels) = (net.at(), net.channels());
    net.within(name, |net| {
        net.adaptive_avg_pool("avgpool", 1);
        net.conv("fc1", Conv::new(squeezed, 1).bias()).activation("activation", inner);
        let gate = net.conv("fc2", Conv::new(channels, 1).bias()).activation("scale_activation", outer).at();
        net.go_to(input).multiply("mul", gate);
    });
}
