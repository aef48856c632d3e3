//! The layers that are split, and their replacement by several.

use super::split::Unfolding;
use super::way::Way;
use super::{FactorizeConfig, Metric};
use crate::criteria::MOST_INPUTS;
use lopper_engine::channels::Filters;
use lopper_engine::{Graph, Layer, NodeId, Result};

impl FactorizeConfig {
    /// Returns an error if a list names a layer that cannot be split.
    pub(super) fn check_lists(&self, graph: &Graph) -> Result<()> {
        let kind = if self.conv.is_some() { "convolution or linear layer" } else { "linear layer" };
        let nodes = graph.nodes().iter().filter(|node| match node.layer {
            Layer::Linear(_) => true,
            Layer::Conv2d(_) => self.conv.is_some(),
            _ => false,
        });
        self.lists().check(kind, nodes.map(|node| node.name.as_str()))
    }

    /// How the layer `id` is split, or why it stays; none if it is neither a convolution nor linear.
    pub(super) fn choose(&self, graph: &Graph, id: NodeId) -> Option<Result<Way, String>> {
        let node = &graph.nodes()[id];
        let way = match &node.layer {
            Layer::Linear(_) => Ok(Way::Matrix(Unfolding::Linear)),
            Layer::CompactConv2d(_) if self.conv.is_some() => {
                Err("compact: factorize before compacting".to_string())
            }
            Layer::Conv2d(conv) if self.conv.is_some() => Way::of(conv, self.conv()),
            _ => return None,
        };
        let inputs = Filters::of(&node.layer).map_or(0, |filters| filters.depth());
        Some(match self.lists().skips(&node.name) {
            Some(why) => Err(why.into()),
            None if self.metric == Metric::Whitened && inputs > MOST_INPUTS => {
                Err(format!("{inputs} inputs, of which at most {MOST_INPUTS} are whitened"))
            }
            None => way,
        })
    }
}

/// The shapes of all outputs for one image, if its size is known.
pub(super) fn shapes(graph: &Graph) -> Result<Option<Vec<Vec<usize>>>> {
    match graph.info.input {
        [h, w, c] if h * w * c > 0 => graph.shapes([1, h, w, c]).map(Some),
        _ => Ok(None),
    }
}

/// Replaces the layer `id` by several, called `name.0`, `name.1` and so on; returns how many were added.
pub(super) fn replace(graph: &mut Graph, id: NodeId, layers: Vec<Layer>) -> Result<usize> {
    let name = graph.nodes()[id].name.clone();
    let added = layers.len() - 1;
    for (index, layer) in layers.into_iter().enumerate() {
        match index {
            0 => {
                *graph.layer_mut(id) = layer;
                graph.rename(id, format!("{name}.0"))?;
            }
            _ => _ = graph.insert_after(id + index - 1, format!("{name}.{index}"), layer)?,
        }
    }
    Ok(added)
}
