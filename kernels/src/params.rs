//! The parameters of an operation besides its geometry: transposes, fused epilogues, live channels, hyperparameters.
//! Plain values, shared by every implementation of an operation.

pub use crate::activation::{Activation, EXAMPLES as ACTIVATIONS, Saved};
pub use crate::dtype::Dtype;
pub use crate::shapes::Trans;

/// The origin of a batch norm's statistics. If they come from the batch, gradients also flow through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// Computed from the batch.
    Batch,
    /// Given constants.
    Given,
}

/// The operands and results of a batch norm's forward pass that its backward pass reads. `T` is a reference to data on
/// the host or on a device.
#[derive(Debug, Clone, Copy)]
pub struct Normalized<T> {
    /// The origin of `mean` and `var`.
    pub statistics: Statistics,
    /// The input, `[rows, C]`.
    pub x: T,
    /// The mean of each channel, `[C]`.
    pub mean: T,
    /// The variance of each channel, `[C]`.
    pub var: T,
    /// The scale of each channel, `[C]`.
    pub gamma: T,
    /// The fused activation.
    pub activation: Activation,
    /// The output, `[rows, C]`; needed only with an activation.
    pub y: Option<T>,
}

impl<T> Normalized<T> {
    /// Applies `f` to all data, for instance to find it on a device.
    pub fn try_map<'a, U, E>(&'a self, mut f: impl FnMut(&'a T) -> Result<U, E>) -> Result<Normalized<U>, E> {
        let Self { statistics, x, mean, var, gamma, activation, y } = self;
        let [x, mean, var, gamma] = [f(x)?, f(mean)?, f(var)?, f(gamma)?];
        let y = y.as_ref().map(f).transpose()?;
        Ok(Normalized { statistics: *statistics, x, mean, var, gamma, activation: *activation, y })
    }
}

/// The channels that a compact convolution keeps within an unchanged outer width.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompactIndex {
    /// Input channels to gather, ascending.
    pub inputs: Vec<u32>,
    /// Filters to compute, ascending; also the positions to which the live outputs are scattered.
    pub outputs: Vec<u32>,
    /// Whether the gathered image has an additional last channel that is 1 inside the image and 0 in the padding. Its
    /// weights hold the exact effect of dead inputs with a constant nonzero value.
    pub carrier: bool,
}

/// Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983, as Sutskever et al. 2013 write it).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// The fraction of the velocity that survives a step; 0 keeps no velocity.
    pub momentum: f32,
    /// Steps along the gradient plus momentum times the updated velocity.
    pub nesterov: bool,
    /// L2 penalty: `weight_decay · p` is added to the gradient.
    pub weight_decay: f32,
}

/// Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// L2 penalty on the gradient or, if decoupled, shrinkage of the parameter by `lr · weight_decay`.
    pub weight_decay: f32,
    /// AdamW: the decay bypasses the moments.
    pub decoupled: bool,
}
