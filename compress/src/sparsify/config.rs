//! The options of sparsification.

use super::schedule::check_window;
use super::{SparsitySchedule, SparsityTarget};
use crate::criteria::{Criterion, Evidence, Normalization, Scoring, Subject};
use crate::granularity::{Granularity, Quota};
use crate::lists::Lists;
use crate::select::{Context, Rule};
use crate::techniques::Attached;
use lopper_engine::train::ParamGroup;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a sparsity may be from the one that a quota implies: it is written with a few digits.
const ROUNDED: f64 = 1e-3;

/// The options of sparsification, as a recipe writes them. Either `sparsity` or `target` is needed.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them: `layer1` stands for every layer whose
/// name begins with `layer1.`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparsifyConfig {
    /// The fraction of groups to drop, in 0..=1. Each layer keeps at least one group. A granularity N:M implies it, and
    /// needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// Fractions of groups to drop by pattern of layers, such as `layer1.*`; `*` stands for any sequence of characters.
    /// Layers that no pattern matches lose `sparsity`, or nothing without one, and no layer competes with another.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sparsities: BTreeMap<String, f64>,
    /// What the network may cost. Each layer gets the granularity and the sparsity that lose the least for what they save.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SparsityTarget>,
    /// Which weights are dropped together.
    #[serde(default)]
    pub granularity: Granularity,
    /// Whether every layer loses the same fraction, or layers compete. Does not matter for N:M, whose runs all lose the
    /// same.
    #[serde(default)]
    pub context: Context,
    /// How groups are scored.
    #[serde(default)]
    pub criterion: Criterion,
    /// The scale of a layer's scores, which makes layers comparable. By default that of
    /// [`Normalization::across_layers`] where groups of several weights compete, and none elsewhere.
    #[serde(default)]
    pub normalization: Option<Normalization>,
    /// How sparsity grows while training.
    #[serde(default)]
    pub schedule: SparsitySchedule,
    /// The start of growth, as a fraction of the training. Nothing is dropped earlier.
    #[serde(default)]
    pub start: f64,
    /// The end of growth, as a fraction of the training.
    #[serde(default = "whole")]
    pub end: f64,
    /// Training steps between two updates of the masks. The last step always updates them.
    #[serde(default = "every_step")]
    pub every: usize,
    /// The training step, from 0, to whose weights the network returns at each update of the masks but one by the last step:
    /// the lottery ticket hypothesis inside one training (Frankle & Carbin 2019; fasterai's `lth`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewind: Option<usize>,
    /// Whether the network ends with these weights, as a ticket. Only with `rewind`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset_end: bool,
    /// The layers to sparsify. If empty: every layer that the granularity applies to, except the output layer.
    #[serde(default)]
    pub include: Vec<String>,
    /// Layers to skip.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The seed of the random criterion.
    #[serde(default)]
    pub seed: u64,
    /// The machine on which a latency is promised.
    #[serde(skip)]
    pub clock: Attached,
}

fn whole() -> f64 {
    1.0
}

fn every_step() -> usize {
    1
}

impl SparsifyConfig {
    pub(super) fn lists(&self) -> Lists<'_> {
        Lists { technique: "sparsify", include: &self.include, exclude: &self.exclude }
    }

    /// The defaults at a final sparsity of `sparsity`: filters of the smallest magnitude across all layers, on a
    /// cosine schedule.
    pub fn new(sparsity: f64) -> Self {
        Self {
            sparsity: Some(sparsity),
            sparsities: BTreeMap::new(),
            target: None,
            granularity: Granularity::default(),
            context: Context::default(),
            criterion: Criterion::default(),
            normalization: None,
            schedule: SparsitySchedule::default(),
            start: 0.0,
            end: whole(),
            every: every_step(),
            rewind: None,
            reset_end: false,
            include: Vec::new(),
            exclude: Vec::new(),
            seed: 0,
            clock: Attached::default(),
        }
    }

    /// The options with single weights as groups, which is how a target scores them.
    pub(super) fn by_weight(&self) -> Self {
        Self { granularity: Granularity::WEIGHT, sparsity: Some(0.0), target: None, ..self.clone() }
    }

    /// The options by which groups are scored, and zeros counted.
    pub(super) fn scored(&self) -> Self {
        if self.target.is_some() { self.by_weight() } else { self.clone() }
    }

    /// The scoring of these options, given the evidence for the criterion.
    pub(super) fn scoring<'a>(&'a self, evidence: Option<&'a Evidence>) -> Scoring<'a> {
        let competing = self.context != Context::Local && self.granularity != Granularity::WEIGHT;
        let default = match competing {
            true => Normalization::across_layers(&self.criterion),
            false => Normalization::None,
        };
        let normalization = self.normalization.unwrap_or(default);
        Scoring::new(&self.criterion).normalization(normalization).seed(self.seed).evidence(evidence)
    }

    /// Which groups compete with each other.
    pub(super) fn rule(&self) -> Rule {
        self.granularity.quota().map_or(Rule::Context(self.context), Rule::Quota)
    }

    /// The fraction of its groups that the layer `name` loses in the end, if `sparsities` decides.
    ///
    /// # Errors
    /// If two patterns give different ones.
    pub(super) fn own_sparsity(&self, name: &str) -> Result<Option<f64>> {
        if self.sparsities.is_empty() {
            return Ok(None);
        }
        let matching = |(pattern, _): &(&String, &f64)| ParamGroup::new(pattern.as_str()).matches(name);
        let mut found = self.sparsities.iter().filter(matching);
        let Some((pattern, &sparsity)) = found.next() else { return Ok(Some(self.sparsity.unwrap_or(0.0))) };
        match found.find(|(_, other)| **other != sparsity) {
            Some((other, differs)) => Err(Error::invalid(format!(
                "sparsify sparsities: `{pattern}` = {sparsity} and `{other}` = {differs} both match `{name}`"
            ))),
            None => Ok(Some(sparsity)),
        }
    }

    /// Returns an error if a pattern of `sparsities` matches none of `layers`.
    pub(super) fn check_patterns<'n>(&self, layers: impl Iterator<Item = &'n str> + Clone) -> Result<()> {
        let unmatched = |pattern: &&String| {
            let group = ParamGroup::new(pattern.as_str());
            !layers.clone().any(|name| group.matches(name))
        };
        match self.sparsities.keys().find(unmatched) {
            Some(pattern) => Err(Error::invalid(format!(
                "sparsify sparsities: `{pattern}` matches no layer that is sparsified"
            ))),
            None => layers.clone().try_for_each(|name| self.own_sparsity(name).map(drop)),
        }
    }

    /// The fraction of groups to drop in the end; of several, the largest.
    ///
    /// # Errors
    /// If it is missing or no fraction, or if N:M implies another one.
    pub fn final_sparsity(&self) -> Result<f64> {
        let granularity = self.granularity;
        if !self.sparsities.is_empty() {
            if let Some(quota) = granularity.quota() {
                return Err(Error::invalid(format!(
                    "sparsify sparsities: granularity {quota} implies the sparsity of every layer; omit them"
                )));
            }
            let default = self.sparsity.iter().map(|sparsity| ("*", *sparsity));
            let all = self.sparsities.iter().map(|(pattern, sparsity)| (pattern.as_str(), *sparsity));
            return all.chain(default).try_fold(0.0, |largest: f64, (pattern, sparsity)| {
                match (0.0..=1.0).contains(&sparsity) {
                    true => Ok(largest.max(sparsity)),
                    false => Err(Error::invalid(format!(
                        "sparsify sparsities: `{pattern}`: expected a fraction in [0, 1], found {sparsity}"
                    ))),
                }
            });
        }
        match (self.sparsity, granularity.quota().map(Quota::sparsity)) {
            (None, Some(implied)) => Ok(implied),
            (Some(given), Some(implied)) if (given - implied).abs() <= ROUNDED => Ok(implied),
            (Some(given), Some(implied)) => Err(Error::invalid(format!(
                "sparsity: granularity {granularity} drops {implied} of the weights, found {given}; omit it"
            ))),
            (Some(given), None) if (0.0..=1.0).contains(&given) => Ok(given),
            (Some(given), None) => {
                Err(Error::invalid(format!("sparsity: expected a fraction in [0, 1], found {given}")))
            }
            (None, None) => Err(Error::invalid(format!(
                "sparsity: expected the fraction of {}s to drop, found none: set sparsity, which only a granularity N:M \
                 implies",
                granularity.name()
            ))),
        }
    }

    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        match &self.target {
            Some(target) => self.check_target(target)?,
            None => self.check_groups()?,
        }
        if self.every == 0 {
            return Err(Error::invalid("sparsify every: expected at least 1 step, found 0"));
        }
        if self.reset_end && self.rewind.is_none() {
            return Err(Error::invalid("sparsify reset_end: to which weights? expected rewind beside it"));
        }
        if self.rewind.is_some() && self.target.is_some() {
            return Err(Error::invalid("sparsify rewind: expected a sparsity beside it, found a target"));
        }
        self.schedule.check()?;
        check_window("sparsify", [self.start, self.end])
    }

    fn check_groups(&self) -> Result<()> {
        self.granularity.check()?;
        if self.granularity == Granularity::LAYER {
            return Err(Error::invalid(
                "granularity layer: every layer keeps at least one group, so nothing would be dropped: it is for penalties",
            ));
        }
        self.final_sparsity()?;
        if self.criterion.subject() == Subject::BatchNorm && self.granularity != Granularity::FILTER {
            return Err(Error::invalid(format!(
                "criterion {} scores filters: expected granularity filter beside it, found {}",
                self.criterion, self.granularity
            )));
        }
        Ok(())
    }

    fn check_target(&self, target: &SparsityTarget) -> Result<()> {
        let given = [
            ("sparsity", self.sparsity.is_some()),
            ("sparsities", !self.sparsities.is_empty()),
            ("granularity", self.granularity != Granularity::default()),
            ("context", self.context != Context::default()),
        ];
        if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
            return Err(Error::invalid(format!(
                "sparsify target: chooses granularities and sparsities by layer: expected no {key} beside it; `granularities` of \
                 the target restrict the choice"
            )));
        }
        if self.criterion.subject() == Subject::BatchNorm {
            return Err(Error::invalid(format!(
                "sparsify target: criterion {} scores filters: expected one that scores single weights",
                self.criterion
            )));
        }
        target.check()
    }

    /// The target at `fraction` of the training: the schedule's share of the final sparsity.
    ///
    /// # Errors
    /// Those of [`Self::final_sparsity`], and if a schedule of another crate gives no share.
    pub fn sparsity_at(&self, fraction: f64) -> Result<f64> {
        match self.schedule.share_within(fraction, [self.start, self.end]) {
            share if (0.0..=1.0).contains(&share) => Ok(self.final_sparsity()? * share),
            share => Err(Error::invalid(format!(
                "sparsify schedule: expected {} to give a share in [0, 1], found {share} after {fraction} of the training",
                self.schedule
            ))),
        }
    }
}
