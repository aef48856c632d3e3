//! The options of compaction.

use crate::lists::Lists;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// The options of compaction, as a recipe writes them.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompactConfig {
    /// The fraction of a convolution's weights that must be saved to be worth a gather and a scatter, in 0..=1.
    pub min_saving: f64,
    /// The convolutions to compact. If empty, all.
    pub include: Vec<String>,
    /// Convolutions to skip.
    pub exclude: Vec<String>,
}

impl CompactConfig {
    /// Checks the options that can be checked without a network. The error names the first invalid one.
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
