//! The receiver of a training's checkpoints.

use super::{Checkpoint, Progress};
use crate::Result;

/// What to do between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Continue with the next step.
    GoOn,
    /// Take a checkpoint, then continue.
    Keep,
    /// Take a checkpoint, then end the training with [`crate::Error::Stopped`].
    Stop,
}

/// The reason for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// An epoch is complete; validation comes next.
    EpochOver,
    /// The keeper returned [`Wish::Keep`].
    Asked,
    /// The keeper returned [`Wish::Stop`]; the training ends.
    Stopping,
    /// An image cannot be read; the training ends.
    BadData,
}

/// Receives the checkpoints of a training, and can end it between two steps.
pub trait Keeper {
    /// Decides what to do after each step.
    fn wish(&mut self, progress: Progress) -> Wish;

    /// Stores `checkpoint`, and drops it before returning: its tensors are shared with the training, which would
    /// otherwise copy them when it continues. An error ends the training.
    fn keep(&mut self, checkpoint: Checkpoint, why: Why) -> Result<()>;
}
