//! The options of lottery tickets.

use crate::criteria::{Criterion, Normalization};
use crate::granularity::Granularity;
use crate::select::Context;
use crate::sparsify::SparsifyConfig;
use lopper_engine::{Error, Graph, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The options of lottery tickets, as a recipe writes them. `fraction` and `rewind` have no default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LotteryConfig {
    /// The fraction of the groups that are left to mask, in [0, 1). Each layer keeps at least one group.
    pub fraction: f64,
    /// The network whose weights the ticket starts from: an earlier stage or a model file.
    pub rewind: String,
    /// Which weights are masked together.
    #[serde(default = "weight")]
    pub granularity: Granularity,
    /// Whether every layer loses the same fraction, or layers compete.
    #[serde(default)]
    pub context: Context,
    /// How groups are scored.
    #[serde(default)]
    pub criterion: Criterion,
    /// The scale of a layer's scores, which makes layers comparable. By default, that of sparsification.
    #[serde(default)]
    pub normalization: Option<Normalization>,
    /// The layers to mask. If empty: every layer that the granularity applies to, except the output layer.
    #[serde(default)]
    pub include: Vec<String>,
    /// Layers to skip.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The seed of the random criterion.
    #[serde(default)]
    pub seed: u64,
    /// The network that `rewind` names, once it is known.
    #[serde(skip)]
    pub start: Start,
}

/// The network that the weights of a ticket come from, once it is known. It prints as nothing, because the options identify
/// the technique.
#[derive(Clone, Default)]
pub struct Start(pub(super) Option<Graph>);

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Start")
    }
}

fn weight() -> Granularity {
    Granularity::WEIGHT
}

impl LotteryConfig {
    /// Masks `fraction` of the single weights that are left in all layers together, by magnitude, and rewinds to the network
    /// named `rewind`.
    pub fn new(fraction: f64, rewind: impl Into<String>) -> Self {
        Self {
            fraction,
            rewind: rewind.into(),
            granularity: weight(),
            context: Context::default(),
            criterion: Criterion::default(),
            normalization: None,
            include: Vec::new(),
            exclude: Vec::new(),
            seed: 0,
            start: Start::default(),
        }
    }

    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.fraction) {
            let found = self.fraction;
            return Err(Error::invalid(format!(
                "lottery fraction: expected a fraction in [0, 1), found {found}"
            )));
        }
        if self.granularity.quota().is_some() {
            let found = self.granularity;
            return Err(Error::invalid(format!(
                "lottery granularity: N:M drops a fixed share at once: expected another one, found {found}"
            )));
        }
        self.masking(self.fraction).check()
    }

    /// The sparsification to `sparsity`.
    pub(super) fn masking(&self, sparsity: f64) -> SparsifyConfig {
        SparsifyConfig {
            granularity: self.granularity,
            context: self.context,
            criterion: self.criterion.clone(),
            normalization: self.normalization,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            seed: self.seed,
            ..SparsifyConfig::new(sparsity)
        }
    }
}
