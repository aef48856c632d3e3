//! What training minimises.

use crate::data::Batch;
use crate::exec::Pass;
use crate::tape::{Tape, Var};
use crate::{NodeId, Result};

/// A loss to train by.
pub trait Objective {
    /// The loss, one element, of `pass`, the run of the network over `batch`.
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var>;

    /// Nodes whose outputs the loss reads, as [`Pass::taps`].
    fn taps(&self) -> Vec<NodeId> {
        Vec::new()
    }
}

/// The task loss of classification: cross entropy.
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
