//! The names of teachers, as a recipe writes them.

use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// The word for the network of the stage, or the round of a stage, before.
pub(super) const PREVIOUS: &str = "previous";

/// The teachers of a student: one or more earlier stages or model files.
///
/// ```text
///   teacher = "large"
///   teacher = ["a", { network = "b", weight = 2 }]
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected the name of a network, or a list of names and of { network, weight }"
)]
pub enum Teachers {
    /// One teacher.
    One(String),
    /// Several teachers, weighted.
    Many(Vec<Teacher>),
}

/// One of several teachers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the name of a network, or { network, weight }")]
pub enum Teacher {
    /// A teacher of weight 1.
    Named(String),
    /// A teacher with a weight, relative to the others.
    Weighted(WeightedTeacher),
}

/// A teacher with a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedTeacher {
    /// An earlier stage or a model file.
    pub network: String,
    /// Its weight, relative to the other teachers.
    #[serde(deserialize_with = "number::deserialize")]
    pub weight: f32,
}

impl From<&str> for Teachers {
    fn from(name: &str) -> Self {
        Self::One(name.into())
    }
}

impl Teachers {
    /// The names, in order.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(teachers) => teachers.iter().map(|teacher| teacher.parts().0).collect(),
        }
    }

    /// The share of each teacher in the loss. They sum to 1.
    pub fn shares(&self) -> Vec<f32> {
        match self {
            Self::One(_) => vec![1.0],
            Self::Many(teachers) => {
                let weights = teachers.iter().map(|teacher| f64::from(teacher.parts().1));
                let total: f64 = weights.clone().sum();
                weights.map(|weight| (weight / total) as f32).collect()
            }
        }
    }

    /// An error if there is no teacher, or a weight is not above 0.
    pub(super) fn check(&self) -> Result<()> {
        let Self::Many(teachers) = self else { return Ok(()) };
        if teachers.is_empty() {
            return Err(Error::invalid("teacher: expected a network, found none"));
        }
        teachers.iter().map(Teacher::parts).try_for_each(|(name, weight)| {
            let what = format_args!("teacher {name}: weight");
            number::single(what, weight.into(), Range::AboveZero).map(drop)
        })
    }

    /// The teachers with `previous` for the word, if they contain it.
    pub(super) fn resolved(&self, previous: &str) -> Option<Self> {
        let named = |name: &str| if name == PREVIOUS { previous.to_string() } else { name.to_string() };
        if !self.names().contains(&PREVIOUS) {
            return None;
        }
        Some(match self {
            Self::One(name) => Self::One(named(name)),
            Self::Many(teachers) => {
                Self::Many(teachers.iter().map(|teacher| teacher.renamed(named)).collect())
            }
        })
    }
}

impl Teacher {
    fn parts(&self) -> (&str, f32) {
        match self {
            Self::Named(name) => (name, 1.0),
            Self::Weighted(WeightedTeacher { network, weight }) => (network, *weight),
        }
    }

    fn renamed(&self, named: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Named(name) => Self::Named(named(name)),
            Self::Weighted(WeightedTeacher { network, weight }) => {
                Self::Weighted(WeightedTeacher { network: named(network), weight: *weight })
            }
        }
    }
}
