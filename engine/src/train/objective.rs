//! The objective that training minimizes.

use crate::autograd::exec::Pass;
use crate::autograd::tape::{Tape, Var};
use crate::train::data::Batch;
use crate::{NodeId, Result};

/// A training loss.
pub trait Objective {
    /// The loss, a single element, of `pass`, the network's forward pass over `batch`.
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var>;

    /// Nodes whose outputs the loss reads from [`Pass::taps`].
    fn taps(&self) -> Vec<NodeId> {
        Vec::new()
    }
}

/// Cross entropy, the task loss of classification.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// Label smoothing, in `[0, 1]`.
    pub smoothing: f32,
}

impl Objective for CrossEntropy {
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        tape.cross_entropy(&pass.output, &batch.labels, self.smoothing)
    }
}
