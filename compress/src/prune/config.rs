//! What to prune, as a recipe writes it.

use super::{Constants, PrunePlan, UnitScores, prune};
use crate::criteria::{Criterion, Evidence, Normalization, Scoring, Site};
use crate::lists::Lists;
use crate::select::Context;
use lopper_engine::rewrite::Rewrite;
use lopper_engine::{Error, Graph, Layer, Result};
use serde::{Deserialize, Serialize};

/// The options of pruning. With no option at all: every dead channel, exactly.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification. A group is
/// included where one of its layers is, and excluded where one of them is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PruneConfig {
    /// What a channel is worth; where absent, dead channels go and all others stay.
    pub criterion: Option<Criterion>,
    /// The fraction of channels to remove by `criterion`, in 0..=1. A group's last channel stays all the same.
    pub fraction: Option<f64>,
    /// What the scores of a layer are divided by, so that layers compare.
    pub normalization: Normalization,
    /// Whether groups are cut alike or against each other.
    pub context: Context,
    /// What becomes of the value of a dead channel that is not zero.
    pub constants: Constants,
    /// The groups to prune; where empty, dead channels go from all, and a criterion asks those of convolutions alone.
    pub include: Vec<String>,
    /// Groups to leave alone.
    pub exclude: Vec<String>,
    /// Seed of the random criterion.
    pub seed: u64,
}

impl PruneConfig {
    /// An error that names the first option that makes no sense, whatever the network.
    pub fn check(&self) -> Result<()> {
        match (&self.criterion, self.fraction) {
            (None, None) => Ok(()),
            (None, Some(_)) => {
                Err(Error::invalid("prune fraction: of which criterion? dead channels need none"))
            }
            (Some(criterion), None) => {
                Err(Error::invalid(format!("prune criterion {criterion}: expected a fraction beside it")))
            }
            (Some(_), Some(fraction)) if (0.0..=1.0).contains(&fraction) => Ok(()),
            (Some(_), Some(fraction)) => Err(Error::invalid(format!(
                "prune fraction: expected a fraction in [0, 1], found {fraction}"
            ))),
        }
    }

    /// The plan for `graph`. `evidence` is what the criterion needs besides the weights: [`Evidence::measure`] at
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

    /// Where the criterion scores the layers of `graph`, in graph order: what evidence is gathered of. Nowhere if there
    /// is no criterion.
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

    /// Whether a criterion scores the group that `layers` make: by default, those of convolutions.
    fn eligible(&self, graph: &Graph, layers: &[String]) -> bool {
        let is_conv = |name: &String| {
            graph.id(name).is_ok_and(|id| matches!(graph.nodes()[id].layer, Layer::Conv2d(_)))
        };
        self.admits(layers, layers.iter().all(is_conv))
    }

    fn lists(&self) -> Lists<'_> {
        Lists { technique: "prune", include: &self.include, exclude: &self.exclude }
    }

    /// Whether the group that `layers` make is to be pruned; `by_default` where nothing is included by name.
    fn admits(&self, layers: &[String], by_default: bool) -> bool {
        let (lists, by_default) = (self.lists(), self.include.is_empty() && by_default);
        let included = by_default || layers.iter().any(|name| lists.includes(name));
        included && !layers.iter().any(|name| lists.excludes(name))
    }
}
