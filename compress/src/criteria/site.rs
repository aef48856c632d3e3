//! Where a criterion looks: the parameters that it scores.

use crate::granularity::Groups;
use crate::weights::{weight, weight_mut};
use lopper_engine::{Graph, NodeId, Param};

/// A parameter that a criterion scores: the weight of a convolution or linear layer, or γ of a batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The layer.
    pub(crate) node: NodeId,
    /// The division of its weight.
    pub(crate) groups: Groups,
}

impl Site {
    /// The node whose parameter is scored.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The layer's name.
    pub fn name<'g>(&self, graph: &'g Graph) -> &'g str {
        &graph.nodes()[self.node].name
    }

    /// The parameter, for writing.
    pub(super) fn weight_mut<'g>(&self, graph: &'g mut Graph) -> &'g mut Param {
        weight_mut(graph.layer_mut(self.node)).expect("sites are layers with a weight")
    }

    /// The parameter.
    pub(crate) fn weight<'g>(&self, graph: &'g Graph) -> &'g Param {
        weight(&graph.nodes()[self.node].layer).expect("sites are layers with a weight")
    }
}
