//! A node of a graph.

use crate::Layer;
use serde::{Deserialize, Serialize};

/// A node's position in [`Graph::nodes`](crate::Graph::nodes).
pub type NodeId = usize;

/// A named layer and the nodes that it reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The name, unique in the graph: torchvision's module path, if there is one (`layer1.0.conv1`).
    pub name: String,
    /// The computation.
    pub layer: Layer,
    /// The nodes that it reads, all earlier in the graph.
    pub inputs: Vec<NodeId>,
}
