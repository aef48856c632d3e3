//! The options of a target.

use crate::targets::Amount;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a network may cost after pruning: exactly one of the four amounts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Latency of the plan, as a share (`"0.5x"`) or in milliseconds (`"3.2ms"`).
    pub latency: Option<Amount>,
    /// Multiply-accumulates for one image.
    pub macs: Option<Amount>,
    /// Parameters.
    pub params: Option<Amount>,
    /// Bytes of parameters and running statistics, which are those of the model file but for its header.
    pub bytes: Option<Amount>,
    /// Images in a batch, for a latency; by default 1.
    pub batch: Option<usize>,
}

/// What a target limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::prune) enum Quantity {
    Latency,
    Macs,
    Params,
    Bytes,
}

impl Target {
    /// Checks the options that can be checked without a network.
    pub(in crate::prune) fn check(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::invalid(format!("prune target: {message}")));
        match (self.given().len(), self.batch) {
            (1, None) => Ok(()),
            (1, Some(0)) => refuse("batch: expected at least 1 image, found 0"),
            (1, Some(_)) if self.latency.is_none() => refuse("batch: expected a latency beside it"),
            (1, Some(_)) => Ok(()),
            (0, _) => refuse("expected one of latency, macs, params and bytes, found none"),
            (count, _) => refuse(&format!("expected one of latency, macs, params and bytes, found {count}")),
        }
    }

    fn given(&self) -> Vec<(Quantity, Amount)> {
        let amounts = [
            (Quantity::Latency, self.latency),
            (Quantity::Macs, self.macs),
            (Quantity::Params, self.params),
            (Quantity::Bytes, self.bytes),
        ];
        amounts.into_iter().filter_map(|(quantity, amount)| Some((quantity, amount?))).collect()
    }

    /// What is limited, and to how much.
    pub(in crate::prune) fn aim(&self) -> Result<(Quantity, Amount)> {
        self.check()?;
        self.given().first().copied().ok_or_else(|| Error::invalid("prune target: found none"))
    }

    /// Whether the target is a time, of which only a machine knows how much a network takes.
    pub(in crate::prune) fn needs_machine(&self) -> bool {
        matches!(self.latency, Some(Amount::Number(_)))
    }

    /// Images in a batch.
    pub fn batch(&self) -> usize {
        self.batch.unwrap_or(1)
    }
}

impl Quantity {
    /// `amount` of it, in words.
    pub fn show(self, amount: f64) -> String {
        let number = match amount {
            big if big >= 1e6 => format!("{:.2} M", big / 1e6),
            small => format!("{small:.0}"),
        };
        match self {
            Self::Latency => format!("{amount:.3} ms"),
            Self::Macs => format!("{number} multiply-accumulates"),
            Self::Params => format!("{number} parameters"),
            Self::Bytes => format!("{:.3} MB", amount / 1e6),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latency => "latency",
            Self::Macs => "macs",
            Self::Params => "params",
            Self::Bytes => "bytes",
        })
    }
}
