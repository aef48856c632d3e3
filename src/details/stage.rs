//! Everything that is known about a finished stage besides its row.

use super::{Change, DeadChannels, LayerSizes, Metrics, Spectra, StepTimes};
use lopper_engine::certificate::Certificate;
use lopper_engine::train::EpochMetrics;
use serde::{Deserialize, Serialize};

/// Details of a stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Names of the techniques that the stage applies, in the order of their roles; `train` if it trains.
    pub techniques: Vec<String>,
    /// Epochs of its training. Empty in `state.json`, which lists them beside the row.
    pub epochs: Vec<EpochMetrics>,
    /// What its rewrites report about each layer.
    pub changes: Vec<Change>,
    /// Filters and weights of each layer, before and after.
    pub layers: Vec<LayerSizes>,
    /// Dead channels: those of the network before a rewrite, or of the network after a training.
    pub channels: Vec<DeadChannels>,
    /// Singular values of the factorized layers.
    pub spectra: Vec<Spectra>,
    /// Time of each step of the plan, before and after.
    pub steps: Vec<StepTimes>,
    /// Scores on the validation images, if there are any.
    pub metrics: Option<Metrics>,
    /// What the techniques that made the network claim about its function, and what was measured: those of earlier stages
    /// first.
    pub certificates: Vec<Certificate>,
    /// Which validation images are classified correctly, as [`super::right`] writes them.
    pub right: Option<String>,
}
