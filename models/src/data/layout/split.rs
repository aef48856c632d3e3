//! The splits of a data set and the names that people give them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A split of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Images to learn from.
    Train,
    /// Images to watch training by.
    Val,
    /// Images for the final score.
    Test,
}

impl Split {
    /// All splits.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// Returns the split that `name` names, in any case: `train`, `training`; `val`, `valid`, `validation`; `test`,
    /// `testing`, `evaluation`.
    pub fn of_name(name: &str) -> Option<Self> {
        match name.trim().to_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" => Some(Self::Val),
            "test" | "testing" | "evaluation" => Some(Self::Test),
            _ => None,
        }
    }

    /// The adjective for images of this split.
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Val => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        })
    }
}
