//! The ways to compute a layer some of whose weights are zero.

use super::pattern::Kind;
use lopper_engine::{Error, Result};
use lopper_kernels::cpu::Algorithm;
use std::fmt;
use std::str::FromStr;

/// A way to compute a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Every weight, zero or not, by this algorithm.
    Dense(Algorithm),
    /// Dead filters are skipped; the layer keeps its widths and reads every input.
    Masked,
    /// Dead filters and dead inputs are skipped; the layer keeps its widths.
    Compacted,
    /// Dead filters are removed from the tensors: the bound of masked.
    PrunedFilters,
    /// Dead filters and dead inputs are removed from the tensors: the bound of compacted.
    Pruned,
    /// Zeros of this kind, which no tensor's width shows.
    Sparse(Kind),
}

impl Way {
    /// The dense ways. The fastest of them is the best dense kernel.
    pub const DENSE: [Self; 4] = {
        let [direct, winograd2, winograd4, rows] = Algorithm::DENSE;
        [Self::Dense(direct), Self::Dense(winograd2), Self::Dense(winograd4), Self::Dense(rows)]
    };

    /// The ways that may skip work, in the order of tables.
    pub const SPARSE: [Self; 11] = [
        Self::Masked,
        Self::Compacted,
        Self::PrunedFilters,
        Self::Pruned,
        Self::Sparse(Kind::Weights),
        Self::Sparse(Kind::Blocks(2)),
        Self::Sparse(Kind::Blocks(4)),
        Self::Sparse(Kind::Blocks(8)),
        Self::Sparse(Kind::Kernels(8)),
        Self::Sparse(Kind::Kernels(16)),
        Self::Sparse(Kind::NofM),
    ];

    /// The names of the ways that a sweep may select, for help texts.
    pub fn names() -> String {
        Self::SPARSE.map(|way| way.to_string()).join(", ")
    }

    /// The zeros that the way is for; `None` if it has none.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Dense(_) => None,
            Self::Masked | Self::PrunedFilters => Some(Kind::Filters),
            Self::Compacted | Self::Pruned => Some(Kind::Channels),
            Self::Sparse(kind) => Some(kind),
        }
    }

    /// The algorithm that skips these zeros, which is timed beside the plan's choice.
    pub(super) fn forced(self) -> Option<Algorithm> {
        match self {
            Self::Dense(algorithm) => Some(algorithm),
            Self::Sparse(Kind::Weights | Kind::Blocks(_) | Kind::NofM) => Some(Algorithm::RowLanes),
            Self::Sparse(Kind::Kernels(_)) => Some(Algorithm::Winograd4),
            _ => None,
        }
    }
}

/// The name in tables, files and options.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Dense(Algorithm::Direct) => "direct".into(),
            Self::Dense(algorithm) => algorithm.to_string(),
            Self::Masked => "masked".into(),
            Self::Compacted => "compacted".into(),
            Self::PrunedFilters => "pruned_filters".into(),
            Self::Pruned => "pruned".into(),
            Self::Sparse(Kind::Weights) => "weight".into(),
            Self::Sparse(Kind::Blocks(filters)) => format!("block:{filters}"),
            Self::Sparse(Kind::Kernels(filters)) => format!("kernel_block:{filters}"),
            Self::Sparse(Kind::NofM) => "n:m".into(),
            Self::Sparse(Kind::Filters | Kind::Channels) => {
                unreachable!("zeros of whole channels are masked, compacted or pruned")
            }
        })
    }
}

impl FromStr for Way {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::SPARSE.into_iter().find(|way| way.to_string() == name);
        found.ok_or_else(|| Error::invalid(format!("way {name}: expected one of {}", Self::names())))
    }
}

/// How a layer's kernel was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// By the plan, from its estimate.
    Chosen,
    /// The algorithm that skips the zeros, whatever the estimate.
    Forced,
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Chosen => "chosen",
            Self::Forced => "forced",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for way in Way::SPARSE {
            assert_eq!(way.to_string().parse::<Way>().unwrap(), way);
        }
        let message = "blocks".parse::<Way>().unwrap_err().to_string();
        assert!(message.contains("way blocks: expected one of masked, compacted"), "{message}");
    }
}
