//! Training on more than one device.

use crate::Result;
use crate::autograd::exec::ParamGradients;

/// Combines the gradients of replicas of a training that see different images, such as by averaging them over all
/// devices. If every replica then has the same gradients, all networks stay equal, except for the running statistics of
/// their batch norms.
///
/// Any function `FnMut(&mut ParamGradients) -> Result<()>` is one.
pub trait Reduce {
    /// Replaces `gradients`, those of this replica in one step, by those of all replicas. Called once per step, after
    /// the backward pass and before callbacks and the optimizer. The gradients of f16 are still multiplied by the loss
    /// scale, so that an overflow in one replica makes all of them skip the step.
    fn reduce(&mut self, gradients: &mut ParamGradients) -> Result<()>;
}

impl<F: FnMut(&mut ParamGradients) -> Result<()>> Reduce for F {
    fn reduce(&mut self, gradients: &mut ParamGradients) -> Result<()> {
        self(gradients)
    }
}
