//! The history of a sparsification.

use serde::{Deserialize, Serialize};

/// One update of the masks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// The step of the whole training, counted from 0.
    pub step: usize,
    /// The scheduled sparsity, as a fraction of groups.
    pub target: f64,
    /// The fraction of groups that are dropped after the update.
    pub sparsity: f64,
}
