//! The options of factorization.

use crate::lists::Lists;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// The options of factorization, as a recipe writes them: either `fraction` or `energy`.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactorizeConfig {
    /// The fraction of the full rank to remove, in 0..1: `rank = (1 − fraction) · min(OUT, IN)`, at least 1.
    pub fraction: Option<f64>,
    /// The share of Σ σ² to keep, in 0..=1, by the smallest rank that keeps it.
    pub energy: Option<f64>,
    /// Whether to factorize layers that do not become smaller.
    pub force: bool,
    /// The layers to factorize. If empty, all linear layers.
    pub include: Vec<String>,
    /// Layers to skip.
    pub exclude: Vec<String>,
}

impl FactorizeConfig {
    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        match (self.fraction, self.energy) {
            (Some(fraction), None) if (0.0..1.0).contains(&fraction) => Ok(()),
            (None, Some(energy)) if (0.0..=1.0).contains(&energy) => Ok(()),
            (Some(fraction), None) => Err(Error::invalid(format!(
                "factorize fraction: expected a fraction in [0, 1), found {fraction}"
            ))),
            (None, Some(energy)) => {
                Err(Error::invalid(format!("factorize energy: expected a share in [0, 1], found {energy}")))
            }
            (None, None) => {
                Err(Error::invalid("factorize: expected one of `fraction` and `energy`, found neither"))
            }
            (Some(_), Some(_)) => {
                Err(Error::invalid("factorize: expected one of `fraction` and `energy`, found both"))
            }
        }
    }

    /// The rank of a layer `[outputs, inputs]` by `fraction`. None if it depends on the layer's singular values.
    pub fn rank(&self, outputs: usize, inputs: usize) -> Option<usize> {
        // Rounded down, but robust to the last bit: removing 0.3 of 10 leaves 7.
        let kept = |fraction: f64| ((1.0 - fraction) * outputs.min(inputs) as f64 + 1e-9) as usize;
        self.fraction.map(|fraction| kept(fraction).max(1))
    }

    pub(super) fn lists(&self) -> Lists<'_> {
        Lists { technique: "factorize", include: &self.include, exclude: &self.exclude }
    }
}

/// The number of weights in the two factors of a layer `[outputs, inputs]`, without bias.
pub fn factor_params(rank: usize, outputs: usize, inputs: usize) -> usize {
    rank * (outputs + inputs)
}
