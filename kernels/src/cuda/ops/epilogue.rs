//! The epilogue of a product, and its kernel argument.

use super::{ClampArg, activation_forward};
use crate::cuda::{Cuda, DeviceBuffer, Result};
use crate::params::{Activation, Dtype};

/// The operations applied to a convolution or linear layer before its result is stored:
/// `y = activation(product + bias + residual)`. The default does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[O]`, f32.
    pub bias: Option<&'a DeviceBuffer>,
    /// Same layout and type as the output.
    pub residual: Option<&'a DeviceBuffer>,
    /// Applied last.
    pub activation: Activation,
}

/// An [`Epilogue`] as a kernel's argument (`Epilogue` in `epilogue.cuh`).
#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(in crate::cuda) struct EpilogueArg {
    pub bias: u64,
    pub residual: u64,
    pub activation: ClampArg,
}

impl Epilogue<'_> {
    /// Asserts types and lengths for an output `y` with rows of `columns`.
    pub(in crate::cuda) fn check(&self, columns: usize, y: &DeviceBuffer) {
        let fits = |buffer: Option<&DeviceBuffer>, dtype, len| {
            buffer.is_none_or(|buffer| (buffer.dtype(), buffer.len()) == (dtype, len))
        };
        assert!(fits(self.bias, Dtype::F32, columns), "the bias has one f32 per column");
        assert!(fits(self.residual, y.dtype(), y.len()), "the residual has the output's type and length");
    }

    /// Runs `product` with the part of the epilogue that products fuse. An activation that is not a clamp follows, in
    /// a pass over `y` that reads it as stored.
    pub(in crate::cuda) fn around(
        &self,
        cuda: &Cuda,
        y: &mut DeviceBuffer,
        product: impl FnOnce(&Epilogue, &mut DeviceBuffer) -> Result<()>,
    ) -> Result<()> {
        if self.activation.bounds().is_some() {
            return product(self, y);
        }
        product(&Epilogue { activation: Activation::None, ..*self }, y)?;
        let x = y.slice(0, y.len());
        activation_forward(cuda, self.activation, &x, y)
    }

    pub(in crate::cuda) fn arg(&self) -> EpilogueArg {
        let address = |buffer: Option<&DeviceBuffer>| buffer.map_or(0, DeviceBuffer::address);
        EpilogueArg {
            bias: address(self.bias),
            residual: address(self.residual),
            activation: self.activation.into(),
        }
    }
}
