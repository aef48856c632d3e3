//! Where a criterion looks: the parameters that it scores.

use super::{Criterion, Need, Subject};
use crate::granularity::Groups;
use crate::weights::{batch_norm_behind, weight, weight_mut};
use lopper_engine::{Graph, Layer, NodeId, Param};

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

    /// Where `criterion` looks to score the `groups` of the convolution or linear layer `node`; `Err` says why it
    /// cannot. `readers` are [`Graph::readers`], found once for all layers.
    pub(crate) fn find(
        criterion: &Criterion,
        graph: &Graph,
        readers: &[Vec<NodeId>],
        node: NodeId,
        groups: Groups,
    ) -> Result<Self, &'static str> {
        match criterion.subject() {
            Subject::Weight => Ok(Self { node, groups }),
            Subject::BatchNorm => {
                let found = batch_norm_behind(graph, readers, node);
                let batch_norm = found.ok_or("no batch norm is the only reader of its output")?;
                Ok(Self { node: batch_norm, groups: Groups::of_channels(groups.count()) })
            }
        }
    }

    /// The node whose output holds the activations that `criterion` needs of the layer, if it needs any.
    pub(super) fn tap(&self, criterion: &Criterion, graph: &Graph) -> Option<NodeId> {
        criterion.needs().iter().find_map(|need| match need {
            Need::Activations => Some(self.node),
            Need::Responses => Some(response(graph, self.node)),
            Need::Inputs => graph.nodes()[self.node].inputs.first().copied(),
            Need::InitialWeights | Need::Gradients | Need::LiveGradients => None,
        })
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
    pub(super) fn weight<'g>(&self, graph: &'g Graph) -> &'g Param {
        weight(&graph.nodes()[self.node].layer).expect("sites are layers with a weight")
    }
}

/// The last of the batch norms and activations behind `node` that are the only readers, one behind the other; `node` if
/// there are none.
fn response(graph: &Graph, mut node: NodeId) -> NodeId {
    while let &[reader] = graph.readers()[node].as_slice()
        && matches!(graph.nodes()[reader].layer, Layer::BatchNorm(_) | Layer::Activation(_))
    {
        node = reader;
    }
    node
}
