//! Activations, as operations and as a kernel argument. The buffers of one call share one floating-point type.

use super::elementwise::map;
use crate::cuda::driver::Result;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Activation;
use bytemuck::{NoUninit, Pod, Zeroable};

/// `y = activation(x)`.
pub fn activation_forward(
    cuda: &Cuda,
    activation: Activation,
    x: &DeviceBuffer,
    y: &mut DeviceBuffer,
) -> Result<()> {
    map(cuda, "activation_forward", &[(&[ActivationArg::from(activation)]).into()], [x], y)
}

/// The gradient of `x` from `dy` and the value that [`Activation::saved`] names.
pub fn activation_input_grad(
    cuda: &Cuda,
    activation: Activation,
    saved: &DeviceBuffer,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    map(cuda, "activation_input_grad", &[(&[ActivationArg::from(activation)]).into()], [saved, dy], dx)
}

/// An activation as the argument of an elementwise kernel (`Activation` in `activation.cuh`).
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
pub(super) struct ActivationArg {
    /// Infinite if the function is not a clamp.
    clamp: ClampArg,
    /// [`Activation::number`].
    function: i32,
    /// [`Activation::parameter`].
    parameter: f32,
}

impl From<Activation> for ActivationArg {
    fn from(activation: Activation) -> Self {
        let clamp = if activation.bounds().is_some() { activation } else { Activation::None };
        Self { clamp: clamp.into(), function: activation.number(), parameter: activation.parameter() }
    }
}

/// A clamp as part of a kernel's argument (`Clamp` in `activation.cuh`).
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::cuda) struct ClampArg {
    /// −∞ if there is no lower bound.
    low: f32,
    /// NaN if there is no upper bound, so that an infinite output lies within the bounds.
    high: f32,
}

impl From<Activation> for ClampArg {
    fn from(activation: Activation) -> Self {
        let [low, high] = activation.bounds().expect("products and backward passes fuse only clamps");
        Self { low, high: if high == f32::INFINITY { f32::NAN } else { high } }
    }
}

impl Default for ClampArg {
    fn default() -> Self {
        Activation::None.into()
    }
}
