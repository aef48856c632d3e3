//! The options of pruning.

use super::by_layer::ByLayer;
use super::fit::RoundTo;
use super::goal::{Goal, Rivals, narrowed};
use super::width::Width;
use super::{Constants, Target, UnitScores};
use crate::criteria::{Coupling, Criterion, Evidence, Normalization, Scoring, Site};
use crate::lists::Lists;
use crate::select::Context;
use crate::sparsify::{SparsitySchedule, check_window};
use crate::techniques::Attached;
use lopper_engine::channels::ChannelFlow;
use lopper_engine::{Error, Graph, Layer, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most cuts of one pruning.
const MOST_STEPS: usize = 1000;

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
    /// How the scores of channels that are removed together become one.
    pub coupling: Coupling,
    /// The scale of a layer's scores, which makes layers comparable. By default that of
    /// [`Normalization::across_layers`] where groups compete, and none elsewhere.
    pub normalization: Option<Normalization>,
    /// Whether every group loses the same `fraction`, or groups compete: all, or those of a stage. Widths are local by nature.
    pub context: Context,
    /// Whether only groups of the same structure compete, as in isomorphic pruning (Fang et al. 2024): each structure
    /// loses the same `fraction`.
    pub isomorphic: bool,
    /// The largest fraction of the channels of a group that goes, for all or by pattern of layers.
    pub max_fraction: Option<ByLayer<f64>>,
    /// The least number of channels that a group keeps, for all or by pattern of layers.
    pub min_channels: Option<ByLayer<usize>>,
    /// The widths that groups keep: multiples of a number, or those that pay by a plan's estimate.
    pub round_to: Option<RoundTo>,
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
    /// The number of cuts, after each of which channels are scored anew. They are spread over the training, if there is
    /// one, so that each is followed by an equal part of it.
    pub steps: Option<usize>,
    /// What the network may cost. Groups lose what costs them least for what it saves.
    pub target: Option<Target>,
    /// The machine on which a latency is promised.
    #[serde(skip)]
    pub clock: Attached,
}

impl PruneConfig {
    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid(format!("prune {message}")));
        let amounts = [
            ("fraction", self.fraction.is_some()),
            ("width", self.width.is_some()),
            ("widths", !self.widths.is_empty()),
            ("target", self.target.is_some()),
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
                    "criterion {criterion}: expected a fraction of channels to remove beside it, or a width, widths or a \
                     target, found none"
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
        self.check_limits()?;
        self.check_target()?;
        self.check_schedule()
    }

    fn check_target(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid(format!("prune {message}")));
        match (&self.target, self.steps) {
            (_, Some(steps)) if !(1..=MOST_STEPS).contains(&steps) => {
                return refuse(format!("steps: expected 1 to {MOST_STEPS} cuts, found {steps}"));
            }
            (_, Some(_)) if self.criterion.is_none() => {
                return refuse("steps: expected a criterion beside it".into());
            }
            (_, Some(_)) if self.schedule.is_some() => {
                return refuse("steps: a schedule says when channels go: expected only one of them".into());
            }
            (Some(_), _) if self.schedule.is_some() => {
                return refuse(
                    "target: expected steps beside it to prune while training, found a schedule".into(),
                );
            }
            (Some(_), _) if self.context != Context::Global => {
                return refuse(format!(
                    "target: groups compete for it: expected the global context, found {}",
                    self.context
                ));
            }
            _ => {}
        }
        self.target.as_ref().map_or(Ok(()), Target::check)
    }

    /// The target.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn target(&self) -> Result<&Target> {
        self.target.as_ref().ok_or_else(|| Error::invalid("prune: expected a target"))
    }

    /// Checks what limits the choice of a criterion.
    fn check_limits(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid(format!("prune {message}")));
        let given = [
            ("normalization", self.normalization.is_some()),
            ("isomorphic", self.isomorphic),
            ("max_fraction", self.max_fraction.is_some()),
            ("min_channels", self.min_channels.is_some()),
            ("round_to", self.round_to.is_some()),
        ];
        if let (None, Some((key, _))) = (&self.criterion, given.iter().find(|(_, given)| *given)) {
            return refuse(format!("{key}: expected a criterion beside it"));
        }
        if self.isomorphic && (self.fraction.is_none() || self.context != Context::Global) {
            return refuse(
                "isomorphic: expected a fraction and the global context, in which groups compete".into(),
            );
        }
        let of = |pattern: Option<&str>| pattern.map_or(String::new(), |pattern| format!(" of `{pattern}`"));
        for (pattern, fraction) in self.max_fraction.iter().flat_map(ByLayer::values) {
            if !(0.0..=1.0).contains(&fraction) {
                return refuse(format!(
                    "max_fraction{}: expected a fraction in [0, 1], found {fraction}",
                    of(pattern)
                ));
            }
        }
        for (pattern, count) in self.min_channels.iter().flat_map(ByLayer::values) {
            if count == 0 {
                return refuse(format!("min_channels{}: expected at least 1 channel, found 0", of(pattern)));
            }
        }
        match self.round_to {
            Some(RoundTo::Multiple(0)) => {
                refuse("round_to: expected a number of channels such as 16, found 0".into())
            }
            _ => Ok(()),
        }
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

    /// The options with the widths of the network `reference`, which [`Self::relative_to`] names, in numbers.
    pub(super) fn resolve(&self, reference: &Graph) -> Result<Self> {
        self.check()?;
        let (Some(criterion), Some(width)) = (&self.criterion, self.width) else { return Ok(self.clone()) };
        let narrowed = |Width { layers, units, .. }: Width| (layers[0].clone(), narrowed(units, width));
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
            (Some(fraction), _) => Goal::Fraction(fraction, self.rivals()),
            (None, Some(width)) => Goal::Width(width),
            (None, None) if self.target.is_some() => Goal::Target,
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
        let default = match self.rivals() {
            Rivals::None => Normalization::None,
            Rivals::All | Rivals::Alike | Rivals::Stage => Normalization::across_layers(criterion),
        };
        let normalization = self.normalization.unwrap_or(default);
        let scoring = Scoring::new(criterion).normalization(normalization).coupling(self.coupling);
        scoring.seed(self.seed).evidence(evidence)
    }

    /// Which groups compete. Widths are given, so that none do.
    fn rivals(&self) -> Rivals {
        match (self.fraction, &self.target, self.context) {
            (Some(_), _, Context::Global) if self.isomorphic => Rivals::Alike,
            (Some(_), _, Context::Stage) => Rivals::Stage,
            (Some(_), _, Context::Global) | (_, Some(_), _) => Rivals::All,
            _ => Rivals::None,
        }
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
    pub(super) fn admits(&self, layers: &[String], by_default: bool) -> bool {
        let (lists, by_default) = (self.lists(), self.include.is_empty() && by_default);
        let included = by_default || layers.iter().any(|name| lists.includes(name));
        included && !layers.iter().any(|name| lists.excludes(name))
    }
}
