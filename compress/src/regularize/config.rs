//! The options of regularization.

use crate::granularity::Granularity;
use crate::names::named;
use crate::sparsify::{SparsifyConfig, SparsitySchedule, check_window};
use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// A penalty on weights. See [`crate::regularize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Penalty {
    /// The sum of |w|.
    L1,
    /// Half the sum of w².
    L2,
    /// The norms of groups.
    GroupLasso,
    /// The squares of chosen groups, ever stronger.
    Growing,
    /// The squares of coupled channels, stronger for smaller ones.
    GroupNorm,
    /// The products of different filters.
    Orthogonality,
}

named!(Penalty, "penalty");

impl Penalty {
    /// Whether it divides weights by the granularity.
    fn divides(self) -> bool {
        matches!(self, Self::GroupLasso | Self::Growing)
    }
}

/// The options of regularization, as a recipe writes them. `penalty` has no default, `weight` only for `growing`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegularizeConfig {
    /// The penalty.
    pub penalty: Penalty,
    /// Its weight λ, above 0. For `growing`, ρ at the beginning, by default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The weights that form a group, for `group_lasso` and `growing`.
    #[serde(default)]
    pub granularity: Granularity,
    /// How the weight grows while training. By default, it is constant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<SparsitySchedule>,
    /// The start of the schedule, as a fraction of the training.
    #[serde(default)]
    pub start: f64,
    /// Its end.
    #[serde(default = "one")]
    pub end: f64,
    /// α of `group_norm`: the smallest unit of a group is pulled 2^α times as strongly as the largest.
    #[serde(default = "alpha")]
    pub alpha: f64,
    /// The fraction of the groups of each layer that `growing` chooses.
    #[serde(default = "half")]
    pub sparsity: f64,
    /// What `growing` adds to ρ.
    #[serde(default = "delta")]
    pub delta: f64,
    /// Training steps between two additions.
    #[serde(default = "every")]
    pub every: usize,
    /// The largest ρ.
    #[serde(default = "one")]
    pub ceiling: f64,
    /// The layers to penalize. If empty: every layer that the penalty applies to, except the output layer.
    #[serde(default)]
    pub include: Vec<String>,
    /// Layers to skip.
    #[serde(default)]
    pub exclude: Vec<String>,
}

fn one() -> f64 {
    1.0
}

fn half() -> f64 {
    0.5
}

fn alpha() -> f64 {
    4.0
}

fn delta() -> f64 {
    1e-4
}

fn every() -> usize {
    5
}

impl RegularizeConfig {
    /// The penalty at a constant weight, with the options of its paper.
    pub fn new(penalty: Penalty, weight: f64) -> Self {
        Self {
            penalty,
            weight: Some(weight),
            granularity: Granularity::default(),
            schedule: None,
            start: 0.0,
            end: one(),
            alpha: alpha(),
            sparsity: half(),
            delta: delta(),
            every: every(),
            ceiling: one(),
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }

    /// λ, or ρ at the beginning.
    pub(super) fn weight(&self) -> f64 {
        self.weight.unwrap_or(0.0)
    }

    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        let growing = self.penalty == Penalty::Growing;
        match self.weight {
            None if !growing => {
                return Err(Error::invalid(format!(
                    "regularize weight: expected the weight of {}, found none",
                    self.penalty
                )));
            }
            weight => {
                let range = if growing { Range::AtLeastZero } else { Range::AboveZero };
                weight.map_or(Ok(0.0), |weight| number::single("regularize weight", weight, range))?;
            }
        }
        self.granularity.check()?;
        if self.penalty.divides() && self.granularity.quota().is_some() {
            let found = self.granularity;
            return Err(Error::invalid(format!(
                "regularize granularity: a penalty knows no N:M: expected a granularity without, found {found}"
            )));
        }
        match &self.schedule {
            Some(_) if growing => {
                return Err(Error::invalid(
                    "regularize schedule: growing has one of its own: delta, every, ceiling",
                ));
            }
            Some(schedule) => {
                schedule.check()?;
                check_window("regularize", [self.start, self.end])?;
            }
            None if (self.start, self.end) != (0.0, 1.0) => {
                return Err(Error::invalid("regularize start, end: expected a schedule beside them"));
            }
            None => {}
        }
        self.check_own()
    }

    /// Checks the options of single penalties.
    fn check_own(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid(format!("regularize {message}")));
        if !(0.0..=60.0).contains(&self.alpha) {
            return refuse(format!("alpha: expected 0 to 60, found {}", self.alpha));
        }
        if !(self.sparsity > 0.0 && self.sparsity < 1.0) {
            return refuse(format!(
                "sparsity: expected more than 0 and less than 1, found {}",
                self.sparsity
            ));
        }
        number::single("regularize delta", self.delta, Range::AboveZero)?;
        number::single("regularize ceiling", self.ceiling, Range::AboveZero)?;
        match self.every {
            0 => refuse("every: expected at least 1 step, found 0".into()),
            _ => Ok(()),
        }
    }

    /// λ·s at `fraction` of the training.
    pub fn weight_at(&self, fraction: f64) -> f64 {
        let share = self.schedule.as_ref().map(|s| s.share_within(fraction, [self.start, self.end]));
        self.weight() * share.unwrap_or(1.0)
    }

    /// ρ of `growing` in step `step`, counted from 0.
    pub fn strength_at(&self, step: usize) -> f64 {
        (self.weight() + self.delta * (step / self.every) as f64).min(self.ceiling)
    }

    /// Which layers are penalized. A granularity that is not used applies to all.
    pub(super) fn selection(&self) -> SparsifyConfig {
        let granularity = if self.penalty.divides() { self.granularity } else { Granularity::WEIGHT };
        SparsifyConfig {
            granularity,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            ..SparsifyConfig::new(self.sparsity)
        }
    }
}
