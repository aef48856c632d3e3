//! The options of weight sharing.

use crate::lists::Lists;
use lopper_engine::{Error, Graph, Layer, NodeId, Result};
use serde::{Deserialize, Serialize};

/// The most bits of a code.
const MOST_BITS: u32 = 12;

/// The options of weight sharing, as a recipe writes them.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareConfig {
    /// The bits of a code, 1 to 12: the weights of a convolution or linear layer take at most `2^bits` values.
    #[serde(default = "byte")]
    pub bits: u32,
    /// The bits of linear layers, if others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear_bits: Option<u32>,
    /// The layers whose weights share values. If empty, all convolutions and linear layers.
    #[serde(default)]
    pub include: Vec<String>,
    /// Layers to skip.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The seed of the first values.
    #[serde(default)]
    pub seed: u64,
}

fn byte() -> u32 {
    8
}

impl Default for ShareConfig {
    fn default() -> Self {
        Self { bits: byte(), linear_bits: None, include: Vec::new(), exclude: Vec::new(), seed: 0 }
    }
}

impl ShareConfig {
    /// Checks the options that can be checked without a network. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        for (name, bits) in [("bits", Some(self.bits)), ("linear_bits", self.linear_bits)] {
            if let Some(bits) = bits.filter(|bits| !(1..=MOST_BITS).contains(bits)) {
                return Err(Error::invalid(format!(
                    "share {name}: expected 1 to {MOST_BITS} bits, found {bits}"
                )));
            }
        }
        Ok(())
    }

    /// The convolutions and linear layers of `graph` with the most values of each, or why it is skipped.
    ///
    /// # Errors
    /// If a list names a layer that does not exist.
    pub(super) fn layers(&self, graph: &Graph) -> Result<Vec<(NodeId, std::result::Result<usize, String>)>> {
        let weighted = |id: &NodeId| matches!(graph.nodes()[*id].layer, Layer::Conv2d(_) | Layer::Linear(_));
        let ids: Vec<NodeId> = (0..graph.nodes().len()).filter(weighted).collect();
        let lists = Lists { technique: "share", include: &self.include, exclude: &self.exclude };
        lists.check("convolution or linear layer", ids.iter().map(|&id| graph.nodes()[id].name.as_str()))?;
        let of = |id: NodeId| {
            let node = &graph.nodes()[id];
            let bits = match node.layer {
                Layer::Linear(_) => self.linear_bits.unwrap_or(self.bits),
                _ => self.bits,
            };
            (id, lists.skips(&node.name).map_or(Ok(1 << bits), |why| Err(why.to_string())))
        };
        Ok(ids.into_iter().map(of).collect())
    }
}
