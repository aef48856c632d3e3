//! The channels that a training has removed.

use serde::{Deserialize, Serialize};

/// The channels that a training has removed by the end of an epoch. Channels that are removed together, such as those of
/// a residual sum, count once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pruned {
    /// Share of the channels that the schedule asks for, in `[0, 1]`.
    pub target: f64,
    /// Channels removed so far.
    pub removed: u64,
    /// Channels before the training, of the layers that are pruned.
    pub channels: u64,
    /// The layers that are pruned, in graph order.
    pub layers: Vec<LayerPruned>,
}

/// The channels that a layer has lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerPruned {
    /// The layer's name.
    pub layer: String,
    /// Channels removed so far.
    pub removed: u64,
    /// Channels before the training.
    pub channels: u64,
}

impl Pruned {
    /// The share of removed channels, in `[0, 1]`; 0 if there are none to remove.
    pub fn fraction(&self) -> f64 {
        self.removed as f64 / self.channels.max(1) as f64
    }
}

impl LayerPruned {
    /// The share of removed channels, in `[0, 1]`; 0 if there are none to remove.
    pub fn fraction(&self) -> f64 {
        self.removed as f64 / self.channels.max(1) as f64
    }
}
