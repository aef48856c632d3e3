//! The options of network slimming.

use crate::lists::Lists;
use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Graph, Layer, NodeId, Result};
use serde::{Deserialize, Serialize};

/// The options of network slimming, as a recipe writes them.
///
/// `include` and `exclude` hold names of batch norms, or of modules that contain them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlimConfig {
    /// The weight λ of the penalty, above 0. The paper uses 1e-5 to 1e-3.
    pub l1: f64,
    /// The batch norms to penalize; if empty, all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Batch norms to skip.
    #[serde(default)]
    pub exclude: Vec<String>,
}

impl SlimConfig {
    /// Penalizes all batch norms with the weight `l1`.
    pub fn new(l1: f64) -> Self {
        Self { l1, include: Vec::new(), exclude: Vec::new() }
    }

    /// Checks the options that can be checked without a network.
    pub fn check(&self) -> Result<()> {
        number::single("slim l1", self.l1, Range::AboveZero).map(drop)
    }

    /// The batch norms of `graph` to penalize, in graph order.
    ///
    /// # Errors
    /// If there is none, or a list names one that does not exist.
    pub fn batch_norms(&self, graph: &Graph) -> Result<Vec<NodeId>> {
        let lists = Lists { technique: "slim", include: &self.include, exclude: &self.exclude };
        let is_norm = |&id: &NodeId| matches!(graph.nodes()[id].layer, Layer::BatchNorm(_));
        let name = |id: NodeId| graph.nodes()[id].name.as_str();
        let norms = (0..graph.nodes().len()).filter(is_norm);
        lists.check("batch norm", norms.clone().map(name))?;
        let chosen: Vec<NodeId> = norms.filter(|&id| lists.skips(name(id)).is_none()).collect();
        match chosen.is_empty() {
            true => Err(Error::invalid("slim: the network has no batch norm to slim by")),
            false => Ok(chosen),
        }
    }
}
