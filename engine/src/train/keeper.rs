//! Who keeps checkpoints of a training.

use super::{Checkpoint, Progress};
use crate::Result;

/// What is to happen between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The next step.
    GoOn,
    /// A checkpoint, then the next step.
    Keep,
    /// A checkpoint, then the end: [`crate::Error::Stopped`].
    Stop,
}

/// Why a checkpoint is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// An epoch is over; it is validated next.
    EpochOver,
    /// [`Wish::Keep`].
    Asked,
    /// [`Wish::Stop`]: nothing comes after it.
    Stopping,
    /// An image cannot be read: nothing comes after it.
    BadData,
}

/// Keeps checkpoints of a training, and may end it between two steps.
pub trait Keeper {
    /// Asked after each step.
    fn wish(&mut self, progress: Progress) -> Wish;

    /// Keeps `checkpoint`, which is to be dropped before it returns: its tensors are shared with the training, and
    /// would be copied when that goes on. An error ends the training.
    fn keep(&mut self, checkpoint: Checkpoint, why: Why) -> Result<()>;
}
