//! The options of sparse training.

use super::densities::Densities;
use crate::granularity::Granularity;
use crate::names::named;
use crate::sparsify::{SparsifyConfig, SparsitySchedule};
use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How masks move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// They do not.
    Static,
    /// Groups grow at random.
    Set,
    /// Groups grow where the loss falls fastest.
    #[default]
    Rigl,
    /// As `rigl`, while sparsity rises.
    Gradual,
    /// The largest run forward; more of them learn, and take the place of those that they outgrow.
    TopKast,
}

named!(Method, "sparse training method");

impl Method {
    /// Whether groups grow by the gradients of masked weights.
    pub(super) fn reads_gradients(self) -> bool {
        matches!(self, Self::Rigl | Self::Gradual | Self::TopKast)
    }
}

/// The options of sparse training, as a recipe writes them. Only `sparsity` has no default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparseTrainConfig {
    /// The fraction of weights without effect in the selected layers together, in [0, 1).
    pub sparsity: f64,
    /// How masks move.
    #[serde(default)]
    pub method: Method,
    /// How many weights each layer keeps.
    #[serde(default)]
    pub densities: Densities,
    /// The sparsity of the first step of `gradual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_sparsity: Option<f64>,
    /// The fraction of weights that do not learn, of `top_kast`: at most `sparsity`. By default twice as many weights learn
    /// as run forward, as in the paper at 0.9 and 0.95.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backward_sparsity: Option<f64>,
    /// The weight λ of the penalty that holds back what does not run forward, of `top_kast`; by default 1e-4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exploration_penalty: Option<f64>,
    /// The share of the live groups that moves in the first update, in (0, 1). `top_kast` moves as many as have grown larger.
    #[serde(default = "fraction")]
    pub fraction: f64,
    /// Training steps between two updates of the masks.
    #[serde(default = "every")]
    pub every: usize,
    /// The share of the training after which masks stay as they are.
    #[serde(default = "end")]
    pub end: f64,
    /// Which weights live or do not together.
    #[serde(default = "weight")]
    pub granularity: Granularity,
    /// The layers to train sparsely. If empty: every layer that the granularity applies to, except the output layer.
    #[serde(default)]
    pub include: Vec<String>,
    /// Layers to leave dense.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The seed of random masks and random growth.
    #[serde(default)]
    pub seed: u64,
}

fn fraction() -> f64 {
    0.3
}

fn every() -> usize {
    100
}

fn end() -> f64 {
    0.75
}

fn weight() -> Granularity {
    Granularity::WEIGHT
}

impl SparseTrainConfig {
    /// RigL at this sparsity, with its published options: ERK densities, 30 % of the live weights moved every 100 steps in
    /// the first 75 % of the training.
    pub fn new(sparsity: f64) -> Self {
        Self {
            sparsity,
            method: Method::default(),
            densities: Densities::default(),
            initial_sparsity: None,
            backward_sparsity: None,
            exploration_penalty: None,
            fraction: fraction(),
            every: every(),
            end: end(),
            granularity: weight(),
            include: Vec::new(),
            exclude: Vec::new(),
            seed: 0,
        }
    }

    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid(format!("sparse_train {message}")));
        self.granularity.check()?;
        if self.granularity.quota().is_some() {
            let found = self.granularity;
            return refuse(format!(
                "granularity: N:M keeps as many of every run, and moves none: found {found}"
            ));
        }
        let sparsities = [
            ("sparsity", Some(self.sparsity)),
            ("initial_sparsity", self.initial_sparsity),
            ("backward_sparsity", self.backward_sparsity),
        ];
        for (key, value) in sparsities {
            if let Some(found) = value.filter(|value| !(0.0..1.0).contains(value)) {
                return refuse(format!("{key}: expected a fraction in [0, 1), found {found}"));
            }
        }
        self.check_method()?;
        if self.densities == Densities::Global && self.method != Method::Gradual {
            return refuse(format!(
                "densities: global ranks what goes while sparsity rises: expected the method gradual, found {}",
                self.method
            ));
        }
        if !(self.fraction > 0.0 && self.fraction < 1.0) {
            return refuse(format!(
                "fraction: expected more than 0 and less than 1, found {}",
                self.fraction
            ));
        }
        if self.every == 0 {
            return refuse("every: expected at least 1 step, found 0".into());
        }
        match self.end > 0.0 && self.end <= 1.0 {
            true => Ok(()),
            false => refuse(format!("end: expected more than 0 and at most 1, found {}", self.end)),
        }
    }

    /// Checks the options of single methods.
    fn check_method(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid(format!("sparse_train {message}")));
        let (method, sparsity) = (self.method, self.sparsity);
        let owned = [
            ("initial_sparsity", self.initial_sparsity, Method::Gradual, "has one sparsity throughout"),
            (
                "backward_sparsity",
                self.backward_sparsity,
                Method::TopKast,
                "trains what runs forward, and no more",
            ),
            ("exploration_penalty", self.exploration_penalty, Method::TopKast, "has nothing to hold back"),
        ];
        for (key, value, owner, why) in owned {
            if value.is_some() && method != owner {
                return refuse(format!("{key}: {method} {why}: expected {owner}"));
            }
        }
        for (key, value) in
            [("initial_sparsity", self.initial_sparsity), ("backward_sparsity", self.backward_sparsity)]
        {
            if let Some(found) = value.filter(|&value| value > sparsity) {
                return refuse(format!("{key}: expected at most the final {sparsity}, found {found}"));
            }
        }
        match self.exploration_penalty {
            Some(penalty) => {
                number::single("sparse_train exploration_penalty", penalty, Range::AtLeastZero).map(drop)
            }
            None => Ok(()),
        }
    }

    /// The fraction of weights that do not learn, of `top_kast`.
    pub fn backward_sparsity(&self) -> f64 {
        self.backward_sparsity.unwrap_or((1.0 - 2.0 * (1.0 - self.sparsity)).max(0.0))
    }

    /// The weight λ of the penalty of `top_kast`.
    pub(super) fn exploration_penalty(&self) -> f64 {
        self.exploration_penalty.unwrap_or(1e-4)
    }

    /// The sparsity at `time`, a fraction of the training.
    pub fn sparsity_at(&self, time: f64) -> f64 {
        match self.method {
            Method::Gradual => {
                let initial = self.initial_sparsity.unwrap_or(0.0);
                initial
                    + (self.sparsity - initial)
                        * SparsitySchedule::Gradual.share_within(time, [0.0, self.end])
            }
            _ => self.sparsity,
        }
    }

    /// The share of the live groups that an update at `time` moves.
    pub fn moved_at(&self, time: f64) -> f64 {
        match time < self.end && self.method != Method::Static {
            true => self.fraction / 2.0 * (1.0 + (PI * time / self.end).cos()),
            false => 0.0,
        }
    }

    /// Which layers are selected, and how they are divided.
    pub(super) fn selection(&self) -> SparsifyConfig {
        SparsifyConfig {
            granularity: self.granularity,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            ..SparsifyConfig::new(self.sparsity)
        }
    }
}
