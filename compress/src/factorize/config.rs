//! The options of factorization.

use super::rule::Rule;
use crate::lists::Lists;
use crate::names::named;
use crate::targets::Amount;
use crate::techniques::Attached;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a convolution is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConvSplit {
    /// It stays whole.
    None,
    /// KH×1, then 1×KW.
    Spatial,
    /// KH×KW to a few channels, then 1×1.
    Channel,
    /// 1×1, KH×KW between few channels, 1×1.
    Tucker,
    /// 1×1, depthwise KH×1, depthwise 1×KW, 1×1.
    Cp,
    /// Spatial or channel: the one with the smaller error at the same cost.
    Auto,
}

named!(ConvSplit, "conv");

/// The norm in which the error of a layer is smallest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// That of the weights; outputs count by the scale of the batch norm behind them.
    #[default]
    Plain,
    /// Inputs count by the root mean square of their channel on images (Yuan et al. 2023, "ASVD: activation-aware singular
    /// value decomposition for compressing large language models", section 3.2, with α = 1 and the root mean square).
    Activations,
    /// Outputs count by the root of their Fisher information `Σ_j E[(∂L/∂w_oj)²]` (Hsu et al. 2022, "Language model
    /// compression with weighted low-rank factorization", equation 6).
    Fisher,
    /// That of the outputs on images: inputs count by the root of their products `E[x xᵀ]` (Wang et al. 2024, "SVD-LLM:
    /// truncation-aware singular value decomposition for large language model compression", section 3.2). Layers with more than
    /// 1,024 input channels stay whole.
    Whitened,
}

named!(Metric, "metric");

/// The options of factorization, as a recipe writes them: one of `fraction`, `energy`, `error`, `vbmf`, `target_macs` and
/// `target_latency`.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactorizeConfig {
    /// The fraction of the full rank to remove, in 0..1: `rank = (1 − fraction) · min(OUT, IN)`, at least 1.
    pub fraction: Option<f64>,
    /// The share of Σ σ² to keep, in 0..=1, by the smallest rank that keeps it.
    pub energy: Option<f64>,
    /// The largest relative error of a layer, in 0..=1, by the smallest rank that respects it.
    pub error: Option<f64>,
    /// Whether variational Bayes tells signal from noise: the ranks follow from the weights alone.
    pub vbmf: bool,
    /// The share of the network's multiply-accumulates that stays, in (0, 1]. The layers share it such that their relative
    /// errors, squared and summed, are smallest.
    pub target_macs: Option<f64>,
    /// Latency of the plan, as a share (`"0.7x"`) or in milliseconds (`"3.2ms"`). The layers share it as they share
    /// `target_macs`; it is measured at the end.
    pub target_latency: Option<Amount>,
    /// Images in a batch, for a latency; by default 1.
    pub target_batch: Option<usize>,
    /// How convolutions are split. If absent, they stay whole.
    pub conv: Option<ConvSplit>,
    /// The norm in which errors are measured.
    pub metric: Metric,
    /// Whether to factorize layers that do not become smaller or faster.
    pub force: bool,
    /// The layers to factorize. If empty, all that can be.
    pub include: Vec<String>,
    /// Layers to skip.
    pub exclude: Vec<String>,
    /// The machine on which a latency is promised.
    #[serde(skip)]
    pub clock: Attached,
}

impl FactorizeConfig {
    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        const RULES: &str = "`fraction`, `energy`, `error`, `vbmf`, `target_macs` and `target_latency`";
        let refuse = |message: String| Err(Error::invalid(format!("factorize{message}")));
        let given = [
            ("fraction", self.fraction.is_some()),
            ("energy", self.energy.is_some()),
            ("error", self.error.is_some()),
            ("vbmf", self.vbmf),
            ("target_macs", self.target_macs.is_some()),
            ("target_latency", self.target_latency.is_some()),
        ];
        let names: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        match names[..] {
            [_] => {}
            [] => return refuse(format!(": expected one of {RULES}, found none")),
            _ => return refuse(format!(": expected one of {RULES}, found `{}`", names.join("` and `"))),
        }
        let shares = [("energy", self.energy), ("error", self.error)];
        for (name, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return refuse(format!(" {name}: expected a share in [0, 1], found {share}"));
            }
        }
        if let Some(fraction) = self.fraction.filter(|fraction| !(0.0..1.0).contains(fraction)) {
            return refuse(format!(" fraction: expected a fraction in [0, 1), found {fraction}"));
        }
        if let Some(share) = self.target_macs.filter(|&share| !(share > 0.0 && share <= 1.0)) {
            return refuse(format!(" target_macs: expected a share above 0 and at most 1, found {share}"));
        }
        match (self.target_batch, self.target_latency) {
            (Some(0), _) => return refuse(" target_batch: expected at least 1 image, found 0".into()),
            (Some(_), None) => return refuse(" target_batch: expected target_latency beside it".into()),
            _ => {}
        }
        let macs = self.target_macs.map(|_| "target_macs");
        let shared = macs.or(self.target_latency.map(|_| "target_latency"));
        match (self.conv(), shared) {
            (ConvSplit::Cp, _) if self.vbmf => refuse(
                " vbmf: gives the rank of a matrix, which cp has none of: choose another `conv`".into(),
            ),
            (conv @ (ConvSplit::Cp | ConvSplit::Tucker), Some(key)) => refuse(format!(
                " {key}: counts singular values of one matrix, and {conv} has several: choose spatial, channel or auto as `conv`"
            )),
            _ => Ok(()),
        }
    }

    /// How convolutions are split.
    pub(super) fn conv(&self) -> ConvSplit {
        self.conv.unwrap_or(ConvSplit::None)
    }

    /// The rule for the rank of each layer alone; none if the layers share a budget.
    pub(super) fn rule(&self) -> Option<Rule> {
        let vbmf = self.vbmf.then_some(Rule::Vbmf);
        let share = self.fraction.map(Rule::Fraction).or(self.energy.map(Rule::Energy));
        share.or(self.error.map(Rule::Error)).or(vbmf)
    }

    /// The rank of a layer `[outputs, inputs]` by `fraction`. None if it depends on the layer's singular values.
    pub fn rank(&self, outputs: usize, inputs: usize) -> Option<usize> {
        self.rule()?.rank_of(outputs.min(inputs))
    }

    /// Images in a batch whose latency is promised.
    pub(super) fn batch(&self) -> usize {
        self.target_batch.unwrap_or(1)
    }

    pub(super) fn lists(&self) -> Lists<'_> {
        Lists { technique: "factorize", include: &self.include, exclude: &self.exclude }
    }
}

/// The number of weights in the two factors of a layer `[outputs, inputs]`, without bias.
pub fn factor_params(rank: usize, outputs: usize, inputs: usize) -> usize {
    rank * (outputs + inputs)
}
