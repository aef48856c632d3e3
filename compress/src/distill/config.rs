//! The options of distillation.

use super::{DistillLoss, FeatureLoss};
use crate::sparsify::{SparsitySchedule, check_window};
use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// A pair of layers whose outputs are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    /// The student's layer.
    pub student: String,
    /// The teacher's layer.
    pub teacher: String,
    /// The weight of the pair, relative to the loss of the logits.
    #[serde(default = "one", deserialize_with = "number::deserialize")]
    pub weight: f32,
    /// How the outputs are compared.
    #[serde(default)]
    pub loss: FeatureLoss,
    /// Whether the student's output goes through a 1×1 convolution or a linear layer that is trained along and dropped
    /// afterwards. By default, where the outputs have different numbers of channels and the loss compares value by value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<bool>,
}

impl Hint {
    /// Compares the outputs of the layers `student` and `teacher` by their mean squared error, at weight 1.
    pub fn new(student: impl Into<String>, teacher: impl Into<String>) -> Self {
        let (student, teacher) = (student.into(), teacher.into());
        Self { student, teacher, weight: 1.0, loss: FeatureLoss::default(), adapter: None }
    }
}

/// A comparison of the last layers at each resolution that student and teacher share; by `crd`, of the features that both
/// classify.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// How their outputs are compared.
    pub loss: FeatureLoss,
    /// The weight of each pair, relative to the loss of the logits.
    #[serde(default = "one", deserialize_with = "number::deserialize")]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

/// The options of distillation, as a recipe writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillConfig {
    /// The weight of distillation in the loss, in 0..=1. The task gets the rest.
    #[serde(deserialize_with = "number::deserialize")]
    pub weight: f32,
    /// How the weight moves from `initial_weight` to `weight` while training. By default, it is `weight` throughout.
    pub schedule: Option<SparsitySchedule>,
    /// The weight before the schedule, in 0..=1.
    #[serde(deserialize_with = "number::deserialize")]
    pub initial_weight: f32,
    /// The start of the schedule, as a fraction of the training.
    pub start: f64,
    /// Its end.
    pub end: f64,
    /// How the logits are compared.
    pub loss: DistillLoss,
    /// The temperature T > 0 of soft targets. The higher, the more the teacher's small probabilities count.
    #[serde(deserialize_with = "number::deserialize")]
    pub temperature: f32,
    /// α of the loss, if it has one.
    pub alpha: Option<f64>,
    /// β of the loss, if it has one.
    pub beta: Option<f64>,
    /// Pairs of layers whose outputs are compared, too.
    pub hints: Vec<Hint>,
    /// Comparisons of pairs that are found by their resolutions.
    pub features: Vec<Features>,
    /// The exponent p of attention.
    #[serde(deserialize_with = "number::deserialize")]
    pub power: f32,
    /// The margin of activation boundaries.
    #[serde(deserialize_with = "number::deserialize")]
    pub margin: f32,
    /// The temperature T > 0 of `cwd`. The lower, the more the strongest pixels of a channel count.
    #[serde(deserialize_with = "number::deserialize")]
    pub map_temperature: f32,
    /// The number of images whose embeddings `crd` remembers.
    pub bank: usize,
    /// The number of values of an embedding of `crd`.
    pub embedding: usize,
    /// The temperature τ > 0 of `crd`.
    #[serde(deserialize_with = "number::deserialize")]
    pub contrast_temperature: f32,
    /// Whether the teacher is trained, too, to imitate the student (Zhang et al. 2018, "Deep mutual learning").
    pub mutual: bool,
    /// Layers of the student that get a classifier of their own, which learns from the network's output.
    pub branches: Vec<String>,
    /// The weight of the mean squared error between the features of each branch, through an adapter, and those that the network
    /// classifies.
    #[serde(deserialize_with = "number::deserialize")]
    pub branch_hint: f32,
    /// Megabytes for the logits of the teachers, which are then computed once for each batch that recurs.
    pub cache: usize,
}

impl Default for DistillConfig {
    /// Soft targets at T = 5, weighted equally with the task.
    fn default() -> Self {
        Self {
            weight: 0.5,
            schedule: None,
            initial_weight: 0.0,
            start: 0.0,
            end: 1.0,
            loss: DistillLoss::default(),
            temperature: 5.0,
            alpha: None,
            beta: None,
            hints: Vec::new(),
            features: Vec::new(),
            power: 2.0,
            margin: 1.0,
            map_temperature: 4.0,
            bank: 4096,
            embedding: 128,
            contrast_temperature: 0.07,
            mutual: false,
            branches: Vec::new(),
            branch_hint: 0.0,
            cache: 0,
        }
    }
}

/// More megabytes than a machine has; a larger number is a typo.
const MOST_MEGABYTES: usize = 1 << 24;
/// More images than a step can compare with, and more values than an embedding has.
const LARGEST_BANK: usize = 1 << 20;
const LONGEST_EMBEDDING: usize = 1 << 14;

impl DistillConfig {
    /// Checks the options that can be checked without the networks. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        number::single("distillation weight", self.weight.into(), Range::UpToOne)?;
        number::single("distillation initial_weight", self.initial_weight.into(), Range::UpToOne)?;
        number::single("distillation branch_hint", self.branch_hint.into(), Range::AtLeastZero)?;
        if self.branch_hint > 0.0 && self.branches.is_empty() {
            return Err(Error::invalid("distillation branch_hint: expected branches beside it"));
        }
        self.check_schedule()?;
        let temperatures = [("temperature", self.temperature), ("map_temperature", self.map_temperature)];
        for (key, temperature) in temperatures {
            let (what, temperature) = (format!("distillation {key}"), f64::from(temperature));
            number::single(&what, temperature, Range::AboveZero)?;
            // The losses have the factor T².
            number::single(format_args!("{what}, squared"), temperature * temperature, Range::AboveZero)?;
        }
        self.loss.factors([self.alpha, self.beta])?;
        let power = number::single("distillation power", self.power.into(), Range::AboveZero)?;
        if power < 1.0 {
            return Err(Error::invalid(format!(
                "distillation power: expected at least 1, where attention has a gradient, found {power}"
            )));
        }
        number::single("distillation margin", self.margin.into(), Range::AboveZero)?;
        let temperature = self.contrast_temperature.into();
        number::single("distillation contrast_temperature", temperature, Range::AboveZero)?;
        let sizes = [("bank", self.bank, LARGEST_BANK), ("embedding", self.embedding, LONGEST_EMBEDDING)];
        for (key, found, most) in sizes {
            if !(1..=most).contains(&found) {
                return Err(Error::invalid(format!(
                    "distillation {key}: expected 1 to {most}, found {found}"
                )));
            }
        }
        if self.cache > MOST_MEGABYTES {
            let found = self.cache;
            return Err(Error::invalid(format!(
                "distillation cache: expected up to {MOST_MEGABYTES} megabytes, found {found}"
            )));
        }
        self.check_features()
    }

    fn check_schedule(&self) -> Result<()> {
        match &self.schedule {
            Some(schedule) => {
                schedule.check()?;
                check_window("distillation", [self.start, self.end])
            }
            None if (self.initial_weight, self.start, self.end) != (0.0, 0.0, 1.0) => Err(Error::invalid(
                "distillation initial_weight, start, end: expected a schedule beside them",
            )),
            None => Ok(()),
        }
    }

    fn check_features(&self) -> Result<()> {
        for Hint { student, teacher, weight, loss, adapter } in &self.hints {
            let what = format_args!("hint {student} ← {teacher}: weight");
            number::single(what, (*weight).into(), Range::AtLeastZero)?;
            if adapter.is_some() && *loss == FeatureLoss::Crd {
                return Err(Error::invalid(format!(
                    "hint {student} ← {teacher}: adapter: crd compares embeddings by heads of its own, and takes none"
                )));
            }
            if *adapter == Some(true) && !loss.compares_values() {
                return Err(Error::invalid(format!(
                    "hint {student} ← {teacher}: adapter: {loss} compares networks of any widths, and needs none"
                )));
            }
        }
        for Features { loss, weight } in &self.features {
            number::single(format_args!("features {loss}: weight"), (*weight).into(), Range::AtLeastZero)?;
        }
        let compares = !(self.hints.is_empty() && self.features.is_empty());
        match (self.cache > 0, self.mutual) {
            (true, _) if compares => Err(Error::invalid(
                "distillation cache: it holds logits, but hints and features compare outputs inside the teacher, which must \
                 run: expected one of them",
            )),
            (true, true) => Err(Error::invalid(
                "distillation cache: a teacher that is trained, as `mutual` says, has other logits in every step",
            )),
            (_, true) if compares => Err(Error::invalid(
                "distillation mutual: networks that teach each other compare logits: expected no hints or features",
            )),
            _ => Ok(()),
        }
    }

    /// The weight at `fraction` of the training.
    pub fn weight_at(&self, fraction: f64) -> f32 {
        let Some(schedule) = &self.schedule else { return self.weight };
        let share = schedule.share_within(fraction, [self.start, self.end]);
        let (from, to) = (f64::from(self.initial_weight), f64::from(self.weight));
        (from + (to - from) * share) as f32
    }

    /// Whether a teacher is never heard.
    pub(super) fn silent(&self) -> bool {
        self.weight == 0.0 && (self.schedule.is_none() || self.initial_weight == 0.0)
    }
}
