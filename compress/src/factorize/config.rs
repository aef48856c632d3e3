//! Which linear layers to factorize, and at which rank, as a recipe writes it.

use crate::lists::Lists;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// The options of factorization, as a recipe writes them: one of `fraction` and `energy`.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactorizeConfig {
    /// The fraction of the full rank to remove, in 0..1: `rank = (1 − fraction) · min(OUT, IN)`, at least 1.
    pub fraction: Option<f64>,
    /// The share of Σ σ² to keep, in 0..=1: the smallest rank that does.
    pub energy: Option<f64>,
    /// Factorize layers too that become no smaller by it.
    pub force: bool,
    /// The layers to factorize; where empty, all linear ones.
    pub include: Vec<String>,
    /// Layers to leave alone.
    pub exclude: Vec<String>,
}

impl FactorizeConfig {
    /// An error that names the first option that makes no sense, whatever the network.
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
            _ => Err(Error::invalid("factorize: expected one of `fraction` and `energy`")),
        }
    }

    /// The rank of a layer `[outputs, inputs]` by `fraction`; none where it depends on the layer's singular values.
    pub fn rank(&self, outputs: usize, inputs: usize) -> Option<usize> {
        // Rounded down, but not by the last bit: 0.3 of 10 removed leaves 7.
        let kept = |fraction: f64| ((1.0 - fraction) * outputs.min(inputs) as f64 + 1e-9) as usize;
        self.fraction.map(|fraction| kept(fraction).max(1))
    }

    pub(super) fn lists(&self) -> Lists<'_> {
        Lists { technique: "factorize", include: &self.include, exclude: &self.exclude }
    }
}

/// The parameters of the two factors of a layer `[outputs, inputs]`, bias left out.
pub fn factor_params(rank: usize, outputs: usize, inputs: usize) -> usize {
    rank * (outputs + inputs)
}
