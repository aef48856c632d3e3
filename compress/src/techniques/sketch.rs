//! Sketches: networks before their weights are known.

use lopper_engine::Graph;

/// What is known, before anything is trained, about the network that a stage will produce. It has the layers of the
/// network, but untrained weights. If the result of a technique depends on the weights, the widths and names after it
/// are unknown.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// A network like the one that the stage will produce.
    pub graph: Graph,
    /// Whether the widths of `graph` are those of the network.
    pub widths: bool,
    /// Whether the layers of `graph` are exactly those of the network.
    pub layers: bool,
}

impl Sketch {
    /// A sketch of `graph`, all of which is known.
    pub fn known(graph: Graph) -> Self {
        Self { graph, widths: true, layers: true }
    }
}
