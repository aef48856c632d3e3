//! Activations, as operations and as a kernel argument. The buffers of one call share one floating-point type.

use super::elementwise::map;
use crate::cuda::driver::Result;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Activation;
use bytemuck::{Pod, Zeroable};

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

/// An [`Activation`] as a kernel's argument (`Activation` in `activation.cuh`).
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::cuda) struct ActivationArg {
    /// The bounds of a clamp, infinite if there is none.
    low: f32,
    high: f32,
    /// Which function it is, 0 for a clamp.
    function: i32,
}

impl From<Activation> for ActivationArg {
    fn from(activation: Activation) -> Self {
        let [low, high] = activation.bounds().unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        Self { low, high, function: activation.number() }
    }
}

impl Default for ActivationArg {
    fn default() -> Self {
        Activation::None.into()
    }
}
