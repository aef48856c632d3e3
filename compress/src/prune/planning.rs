//! The plan that options make of a network.

use super::by_layer::ByLayer;
use super::fit::{Fit, RoundTo, Widths, floors};
use super::goal::Goal;
use super::targets::{Candidate, Reached, Reaching, paying};
use super::width::Width;
use super::{GroupScores, PruneConfig, PrunePlan, UnitScores, prune};
use crate::criteria::Evidence;
use crate::targets::LINE;
use lopper_engine::channels::ChannelFlow;
use lopper_engine::rewrite::Rewrite;
use lopper_engine::{Error, Graph, Layer, Result};

/// The largest share of a group that a target takes, unless options say otherwise.
const MOST_FOR_A_TARGET: f64 = 0.95;

impl PruneConfig {
    /// The plan for `graph`. `evidence` holds what the criterion needs besides the weights: [`Evidence::measure`] at
    /// [`Self::sites`].
    ///
    /// # Errors
    /// If an option is invalid or does not fit the network, or if a target cannot be reached.
    pub fn plan(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<PrunePlan> {
        self.reached(graph, evidence).map(|reached| reached.plan)
    }

    /// The scores by which [`Self::plan`] ranks, joined and layer by layer.
    ///
    /// # Errors
    /// If there is no criterion, or an option is invalid or does not fit the network.
    pub fn scores(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<Vec<GroupScores>> {
        self.check()?;
        self.check_lists(graph)?;
        let Some((criterion, _)) = self.goal()? else {
            return Err(Error::invalid("prune: only a criterion scores channels: expected one"));
        };
        self.check_sites(graph)?;
        GroupScores::of(graph, &self.scoring(criterion, evidence), |layers| self.eligible(graph, layers))
    }

    /// [`Self::plan`], and what it reaches in words, if there is a target.
    pub(super) fn reached(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<Reached> {
        self.check()?;
        self.check_lists(graph)?;
        let Some((criterion, goal)) = self.goal()? else {
            let mut plan = PrunePlan::dead(graph)?;
            plan.groups.retain(|group| self.admits(&group.layers, true));
            return Ok(Reached { plan, note: None });
        };
        self.check_sites(graph)?;
        let scoring = self.scoring(criterion, evidence);
        let scores = UnitScores::new(graph, &scoring, |layers| self.eligible(graph, layers))?;
        if self.target.is_none() {
            return Ok(Reached { plan: self.planned(graph, &scores, &goal)?, note: None });
        }
        let fit = self.fit(graph, &scores.widths(graph, &ChannelFlow::new(graph)?)?)?;
        let candidate = Candidate { config: self, graph, scores: &scores, fit: &fit };
        Reaching::start(&candidate)?.cut(&candidate, 1.0)
    }

    /// Returns an error if there is a target that no widths of `graph` reach. A latency in milliseconds depends on a machine
    /// and is not checked.
    pub(super) fn check_reachable(&self, graph: &Graph) -> Result<()> {
        let Some(target) = &self.target else { return Ok(()) };
        let Some((criterion, _)) = self.goal()?.filter(|_| !target.needs_machine()) else { return Ok(()) };
        let scores = UnitScores::zeros(graph, criterion, |layers| self.eligible(graph, layers))?;
        let fit = self.fit(graph, &scores.widths(graph, &ChannelFlow::new(graph)?)?)?;
        let candidate = Candidate { config: self, graph, scores: &scores, fit: &fit };
        Reaching::start(&candidate)?.check(&candidate)
    }

    /// The options with a fraction in place of a target.
    pub(super) fn without_target(&self) -> Self {
        let fraction = self.fraction.or(self.target.as_ref().map(|_| 0.5));
        Self { fraction, target: None, ..self.clone() }
    }

    /// [`prune`] by the plan for `graph`. The last line of the report says how a target is met.
    pub fn apply(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<Rewrite> {
        let Reached { plan, note } = self.reached(graph, evidence)?;
        let mut rewrite = prune(graph, &plan, self.constants)?;
        note.into_iter().for_each(|note| rewrite.report.changed(LINE, note));
        Ok(rewrite)
    }

    /// A plan that leaves as many channels in each group as [`Self::plan`] does, although it does not know the weights.
    /// None if the numbers depend on them.
    pub(super) fn outline(&self, graph: &Graph) -> Result<Option<PrunePlan>> {
        let Some((criterion, goal)) = self.goal()?.filter(|(_, goal)| goal.is_local()) else {
            return Ok(None);
        };
        let scores = UnitScores::zeros(graph, criterion, |layers| self.eligible(graph, layers))?;
        let plan = self.planned(graph, &scores, &goal)?;
        let flow = ChannelFlow::new(graph)?;
        // A gathering keeps as many channels as are left of those that it reads, which depends on the units that go.
        let gathers = graph.nodes().iter().any(|node| matches!(node.layer, Layer::Gather { .. }));
        let uniform = flow.groups().iter().all(|group| group.is_uniform(&flow));
        Ok((uniform && !gathers).then_some(plan))
    }

    /// The plan that reaches `goal` in `graph`.
    fn planned(&self, graph: &Graph, scores: &UnitScores, goal: &Goal) -> Result<PrunePlan> {
        let flow = ChannelFlow::new(graph)?;
        let widths = scores.widths(graph, &flow)?;
        PrunePlan::without(graph, &flow, scores, &goal.removals(&widths, 1.0)?, &self.fit(graph, &widths)?)
    }

    /// The limits of groups that had `widths` before the first cut, in `graph`.
    ///
    /// # Errors
    /// If a pattern matches no group, or one that another pattern gives another number.
    pub(super) fn fit(&self, graph: &Graph, widths: &[Width]) -> Result<Fit> {
        let counts = match &self.min_channels {
            Some(by) => by.of("min_channels", widths)?,
            None => vec![None; widths.len()],
        };
        let of_targets = self.target.as_ref().map(|_| ByLayer::All(MOST_FOR_A_TARGET));
        let fractions = match self.max_fraction.as_ref().or(of_targets.as_ref()) {
            Some(by) => by.of("max_fraction", widths)?,
            None => vec![None; widths.len()],
        };
        let pay = match self.round_to {
            None => Widths::Any,
            Some(RoundTo::Multiple(multiple)) => Widths::multiple(multiple),
            Some(RoundTo::Plan) => Widths::Listed(paying(graph)?),
        };
        Ok(Fit { floors: floors(widths, &counts, &fractions), widths: pay })
    }
}
