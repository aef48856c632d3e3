//! The options of pruning.

use super::{Constants, PrunePlan, UnitScores, prune};
use crate::criteria::{Criterion, Evidence, Normalization, Scoring, Site};
use crate::lists::Lists;
use crate::select::Context;
use lopper_engine::rewrite::Rewrite;
use lopper_engine::{Error, Graph, Layer, Result};
use serde::{Deserialize, Serialize};

/// The options of pruning, as a recipe writes them. The defaults remove every dead channel, exactly.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification. A group is
/// included if one of its layers is, and excluded if one of its layers is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PruneConfig {
    /// How channels are scored. If absent, dead channels are removed and all others stay.
    pub criterion: Option<Criterion>,
    /// The fraction of channels to remove by `criterion`, in 0..=1. Each group keeps at least one channel.
    pub fraction: Option<f64>,
    /// The divisor of a layer's scores, which makes layers comparable.
    pub normalization: Normalization,
    /// Whether every group loses the same fraction, or groups compete.
    pub context: Context,
    /// The treatment of a dead channel whose constant value is not zero.
    pub constants: Constants,
    /// The groups to prune. If empty, dead channels are removed from all groups, and a criterion considers only those
    /// that convolutions make.
    pub include: Vec<String>,
    /// Groups to skip.
    pub exclude: Vec<String>,
    /// The seed of the random criterion.
    pub seed: u64,
}

impl PruneConfig {
    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        match (&self.criterion, self.fraction) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Error::invalid(
                "prune fraction: of which criterion? expected a criterion beside it, found none",
            )),
            (Some(criterion), None) => Err(Error::invalid(format!(
                "prune criterion {criterion}: expected a fraction of channels to remove beside it, found none"
            ))),
            (Some(_), Some(fraction)) if (0.0..=1.0).contains(&fraction) => Ok(()),
            (Some(_), Some(fraction)) => Err(Error::invalid(format!(
                "prune fraction: expected a fraction in [0, 1], found {fraction}"
            ))),
        }
    }

    /// The plan for `graph`. `evidence` holds what the criterion needs besides the weights: [`Evidence::measure`] at
    /// [`Self::sites`].
    pub fn plan(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<PrunePlan> {
        self.check()?;
        self.lists().check("layer", graph.nodes().iter().map(|node| node.name.as_str()))?;
        let (Some(criterion), Some(fraction)) = (&self.criterion, self.fraction) else {
            let mut plan = PrunePlan::dead(graph)?;
            plan.groups.retain(|group| self.admits(&group.layers, true));
            return Ok(plan);
        };
        let scoring =
            Scoring::new(criterion).normalization(self.normalization).seed(self.seed).evidence(evidence);
        let scores = UnitScores::new(graph, &scoring, |layers| self.eligible(graph, layers))?;
        PrunePlan::lowest(graph, &scores, self.context, fraction)
    }

    /// Where the criterion scores the layers of `graph`, in graph order. Evidence is gathered there. Empty without
    /// a criterion.
    pub fn sites(&self, graph: &Graph) -> Result<Vec<Site>> {
        match &self.criterion {
            Some(criterion) => UnitScores::sites(graph, criterion, |layers| self.eligible(graph, layers)),
            None => Ok(Vec::new()),
        }
    }

    /// [`prune`] by the plan for `graph`.
    pub fn apply(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<Rewrite> {
        prune(graph, &self.plan(graph, evidence)?, self.constants)
    }

    /// Whether the criterion scores the group that `layers` make. By default, only groups of convolutions.
    fn eligible(&self, graph: &Graph, layers: &[String]) -> bool {
        let is_conv = |name: &String| {
            graph.id(name).is_ok_and(|id| matches!(graph.nodes()[id].layer, Layer::Conv2d(_)))
        };
        self.admits(layers, layers.iter().all(is_conv))
    }

    fn lists(&self) -> Lists<'_> {
        Lists { technique: "prune", include: &self.include, exclude: &self.exclude }
    }

    /// Whether the lists admit the group that `layers` make; `by_default` applies if nothing is included by name.
    fn admits(&self, layers: &[String], by_default: bool) -> bool {
        let (lists, by_default) = (self.lists(), self.include.is_empty() && by_default);
        let included = by_default || layers.iter().any(|name| lists.includes(name));
        included && !layers.iter().any(|name| lists.excludes(name))
    }
}
