//! The options of pruning.

use super::goal::{Goal, Width, narrowed};
use super::{Constants, PrunePlan, UnitScores, prune};
use crate::criteria::{Criterion, Evidence, Normalization, Scoring, Site};
use crate::lists::Lists;
use crate::select::Context;
use crate::sparsify::{SparsitySchedule, check_window};
use lopper_engine::channels::ChannelFlow;
use lopper_engine::rewrite::Rewrite;
use lopper_engine::{Error, Graph, Layer, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// The part of the channels of each group that stays by `criterion`, in (0, 1]: of n channels `int(width · n)`, at
    /// least 1.
    pub width: Option<f64>,
    /// The network whose channels `width` counts: an earlier stage or a model file. By default, the one that is pruned.
    pub relative_to: Option<String>,
    /// The numbers of channels that stay by `criterion`, by pattern of layers such as `layer1.*`; `*` stands for any
    /// sequence of characters. Groups that no pattern matches are not cut.
    pub widths: BTreeMap<String, usize>,
    /// The divisor of a layer's scores, which makes layers comparable.
    pub normalization: Normalization,
    /// Whether every group loses the same `fraction`, or groups compete. Widths are local by nature.
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
    /// How the removal proceeds while the network trains. If absent, channels are removed at once.
    pub schedule: Option<SparsitySchedule>,
    /// The start of the removal, as a fraction of the training; by default 0. Only with `schedule`.
    pub start: Option<f64>,
    /// The end of the removal, as a fraction of the training; by default 1. Only with `schedule`.
    pub end: Option<f64>,
    /// Training steps between two removals; by default, an epoch. Only with `schedule`.
    pub every: Option<usize>,
}

impl PruneConfig {
    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid(format!("prune {message}")));
        let amounts = [
            ("fraction", self.fraction.is_some()),
            ("width", self.width.is_some()),
            ("widths", !self.widths.is_empty()),
        ];
        let mut given = amounts.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        match (&self.criterion, given.next(), given.next()) {
            (_, Some(one), Some(other)) => {
                return refuse(format!("{one}: expected only one of {one} and {other}, found both"));
            }
            (None, Some(amount), _) => {
                return refuse(format!(
                    "{amount}: of which criterion? expected a criterion beside it, found none"
                ));
            }
            (Some(criterion), None, _) => {
                return refuse(format!(
                    "criterion {criterion}: expected a fraction of channels to remove beside it, or a width or widths, \
                     found none"
                ));
            }
            (None, None, _) | (Some(_), Some(_), None) => {}
        }
        if let Some(fraction) = self.fraction.filter(|fraction| !(0.0..=1.0).contains(fraction)) {
            return refuse(format!("fraction: expected a fraction in [0, 1], found {fraction}"));
        }
        match self.width {
            Some(width) if !(width > 0.0 && width <= 1.0) => {
                return refuse(format!("width: expected a number above 0 and at most 1, found {width}"));
            }
            None if self.relative_to.is_some() => {
                return refuse("relative_to: expected a width beside it".into());
            }
            _ => {}
        }
        self.check_schedule()
    }

    fn check_schedule(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::invalid(format!("prune {message}")));
        let Some(schedule) = &self.schedule else {
            let timing = [("start", self.start.is_some()), ("end", self.end.is_some())];
            let every = ("every", self.every.is_some());
            return match timing.into_iter().chain([every]).find(|(_, given)| *given) {
                Some((key, _)) => refuse(&format!("{key}: expected a schedule beside it")),
                None => Ok(()),
            };
        };
        if self.criterion.is_none() {
            return refuse("schedule: expected a criterion beside it");
        }
        if schedule.falls() {
            return refuse(&format!(
                "schedule: removed channels cannot return, as {schedule} would have them"
            ));
        }
        if self.every == Some(0) {
            return refuse("every: expected at least 1 step, found 0");
        }
        schedule.check()?;
        check_window("prune", self.window())
    }

    /// The plan for `graph`. `evidence` holds what the criterion needs besides the weights: [`Evidence::measure`] at
    /// [`Self::sites`].
    pub fn plan(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<PrunePlan> {
        self.check()?;
        self.check_lists(graph)?;
        let Some((criterion, goal)) = self.goal()? else {
            let mut plan = PrunePlan::dead(graph)?;
            plan.groups.retain(|group| self.admits(&group.layers, true));
            return Ok(plan);
        };
        self.check_sites(graph)?;
        let scoring = self.scoring(criterion, evidence);
        let scores = UnitScores::new(graph, &scoring, |layers| self.eligible(graph, layers))?;
        planned(graph, &scores, &goal)
    }

    /// A plan that leaves as many channels in each group as [`Self::plan`] does, although it does not know the weights.
    /// None if the numbers depend on them.
    pub(super) fn outline(&self, graph: &Graph) -> Result<Option<PrunePlan>> {
        let Some((criterion, goal)) = self.goal()?.filter(|(_, goal)| goal.is_local()) else {
            return Ok(None);
        };
        let scores = UnitScores::zeros(graph, criterion, |layers| self.eligible(graph, layers))?;
        let plan = planned(graph, &scores, &goal)?;
        let flow = ChannelFlow::new(graph)?;
        Ok(flow.groups().iter().all(|group| group.is_uniform(&flow)).then_some(plan))
    }

    /// The options with the widths of the network `reference`, which [`Self::relative_to`] names, in numbers.
    pub(super) fn resolve(&self, reference: &Graph) -> Result<Self> {
        self.check()?;
        let (Some(criterion), Some(width)) = (&self.criterion, self.width) else { return Ok(self.clone()) };
        let narrowed = |Width { layers, units }: Width| (layers[0].clone(), narrowed(units, width));
        let widths = self.widths(reference, criterion)?.into_iter().map(narrowed).collect();
        Ok(Self { width: None, relative_to: None, widths, ..self.clone() })
    }

    /// The groups of `graph` that `criterion` scores.
    pub(super) fn widths(&self, graph: &Graph, criterion: &Criterion) -> Result<Vec<Width>> {
        self.check_lists(graph)?;
        let zeros = UnitScores::zeros(graph, criterion, |layers| self.eligible(graph, layers))?;
        zeros.widths(graph, &ChannelFlow::new(graph)?)
    }

    /// The criterion and what it aims at, if there is one.
    ///
    /// # Errors
    /// If the widths of another network are needed and not resolved.
    pub(super) fn goal(&self) -> Result<Option<(&Criterion, Goal<'_>)>> {
        if let Some(name) = &self.relative_to {
            return Err(Error::invalid(format!(
                "prune relative_to: the widths of `{name}` are not known here"
            )));
        }
        let Some(criterion) = &self.criterion else { return Ok(None) };
        let goal = match (self.fraction, self.width) {
            (Some(fraction), _) => Goal::Fraction(fraction, self.context),
            (None, Some(width)) => Goal::Width(width),
            (None, None) => Goal::Widths(&self.widths),
        };
        Ok(Some((criterion, goal)))
    }

    /// The scoring of these options by `criterion`, given the evidence for it.
    pub(super) fn scoring<'a>(
        &self,
        criterion: &'a Criterion,
        evidence: Option<&'a Evidence>,
    ) -> Scoring<'a> {
        Scoring::new(criterion).normalization(self.normalization).seed(self.seed).evidence(evidence)
    }

    /// When the removal starts and ends, as fractions of the training.
    pub(super) fn window(&self) -> [f64; 2] {
        [self.start.unwrap_or(0.0), self.end.unwrap_or(1.0)]
    }

    /// Where the criterion scores the layers of `graph`, in graph order. Evidence is gathered there. Empty without
    /// a criterion.
    pub fn sites(&self, graph: &Graph) -> Result<Vec<Site>> {
        match &self.criterion {
            Some(criterion) => UnitScores::sites(graph, criterion, |layers| self.eligible(graph, layers)),
            None => Ok(Vec::new()),
        }
    }

    /// Returns an error if there is a criterion and it would score nothing.
    pub(super) fn check_sites(&self, graph: &Graph) -> Result<()> {
        match &self.criterion {
            Some(criterion) if self.sites(graph)?.is_empty() => Err(Error::invalid(format!(
                "prune: criterion {criterion} scores no channels of this network: include a layer that it reads, whose \
                 channels are tied to neither the image nor the output; by default, only convolutions are included"
            ))),
            _ => Ok(()),
        }
    }

    /// [`prune`] by the plan for `graph`.
    pub fn apply(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<Rewrite> {
        prune(graph, &self.plan(graph, evidence)?, self.constants)
    }

    /// Whether the criterion scores the group that `layers` make. By default, only groups of convolutions.
    pub(super) fn eligible(&self, graph: &Graph, layers: &[String]) -> bool {
        let is_conv = |name: &String| {
            graph.id(name).is_ok_and(|id| matches!(graph.nodes()[id].layer, Layer::Conv2d(_)))
        };
        self.admits(layers, layers.iter().all(is_conv))
    }

    fn lists(&self) -> Lists<'_> {
        Lists { technique: "prune", include: &self.include, exclude: &self.exclude }
    }

    /// Returns an error if a list names a layer that `graph` does not have.
    pub(super) fn check_lists(&self, graph: &Graph) -> Result<()> {
        self.lists().check("layer", graph.nodes().iter().map(|node| node.name.as_str()))
    }

    /// Whether the lists admit the group that `layers` make; `by_default` applies if nothing is included by name.
    fn admits(&self, layers: &[String], by_default: bool) -> bool {
        let (lists, by_default) = (self.lists(), self.include.is_empty() && by_default);
        let included = by_default || layers.iter().any(|name| lists.includes(name));
        included && !layers.iter().any(|name| lists.excludes(name))
    }
}

/// The plan that reaches `goal` in `graph`.
fn planned(graph: &Graph, scores: &UnitScores, goal: &Goal) -> Result<PrunePlan> {
    let flow = ChannelFlow::new(graph)?;
    let removals = goal.removals(&scores.widths(graph, &flow)?, 1.0)?;
    PrunePlan::without(graph, &flow, scores, &removals)
}
