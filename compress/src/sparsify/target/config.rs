//! The options of a target.

use crate::granularity::Granularity;
use crate::targets::Amount;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a network may cost after sparsification: a latency, or the bytes of its file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SparsityTarget {
    /// Latency of the plan, as a share (`"0.5x"`) or in milliseconds (`"3.2ms"`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Amount>,
    /// Bytes of parameters and running statistics in a file, which stores bits and live values of sparse weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Amount>,
    /// Images in a batch, for a latency; by default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// The granularities to choose from for each layer. If empty: for a latency those that kernels are made for, for bytes
    /// single weights, whose zeros lose the least.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub granularities: Vec<Granularity>,
}

/// The most granularities to choose from.
const MOST: usize = 16;

impl SparsityTarget {
    /// Granularities that kernels are made for: single weights, pairs of filters that share their positions, and filters that
    /// share their input channels.
    pub const FAST: [Granularity; 3] =
        [Granularity::WEIGHT, Granularity::BLOCK.block(2), Granularity::KERNEL_BLOCK.block(16)];

    /// Checks the options that can be checked without a network.
    pub(in crate::sparsify) fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid(format!("sparsify target: {message}")));
        match (self.latency, self.bytes, self.batch) {
            (None, None, _) => return refuse("expected latency or bytes, found none".into()),
            (Some(_), Some(_), _) => return refuse("expected latency or bytes, found both".into()),
            (Some(_), None, Some(0)) => return refuse("batch: expected at least 1 image, found 0".into()),
            (None, Some(_), Some(_)) => return refuse("batch: expected a latency beside it".into()),
            (Some(_), None, _) | (None, Some(_), None) => {}
        }
        if self.granularities.len() > MOST {
            let found = self.granularities.len();
            return refuse(format!("granularities: expected at most {MOST}, found {found}"));
        }
        for granularity in &self.granularities {
            granularity.check()?;
            if *granularity == Granularity::LAYER {
                return refuse("granularities: layer: every layer keeps at least one group".into());
            }
        }
        Ok(())
    }

    /// The granularities to choose from.
    pub(super) fn choices(&self) -> Vec<Granularity> {
        match (self.granularities.is_empty(), self.bytes) {
            (false, _) => self.granularities.clone(),
            (true, None) => Self::FAST.to_vec(),
            (true, Some(_)) => vec![Granularity::WEIGHT],
        }
    }

    /// Whether the target is a time, of which only a machine knows how much a network takes.
    pub(super) fn needs_machine(&self) -> bool {
        matches!(self.latency, Some(Amount::Number(_)))
    }

    /// Images in a batch.
    pub fn batch(&self) -> usize {
        self.batch.unwrap_or(1)
    }
}
