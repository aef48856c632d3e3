//! Which convolutions to compact, as a recipe writes it.

use crate::lists::Lists;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// The options of compaction, as a recipe writes them.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompactConfig {
    /// The fraction of a convolution's weights that has to go for it to be worth a gather and a scatter, in 0..=1.
    pub min_saving: f64,
    /// The convolutions to compact; where empty, all.
    pub include: Vec<String>,
    /// Convolutions to leave alone.
    pub exclude: Vec<String>,
}

impl CompactConfig {
    /// An error that names the first option that makes no sense, whatever the network.
    pub fn check(&self) -> Result<()> {
        match (0.0..=1.0).contains(&self.min_saving) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "compact min_saving: expected a fraction in [0, 1], found {}",
                self.min_saving
            ))),
        }
    }

    pub(super) fn lists(&self) -> Lists<'_> {
        Lists { technique: "compact", include: &self.include, exclude: &self.exclude }
    }
}
