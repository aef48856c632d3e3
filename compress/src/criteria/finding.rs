//! Where a criterion looks: which parameter it scores, and whose output it observes.

use super::{Criterion, Need, Site, Subject};
use crate::granularity::Groups;
use crate::weights::batch_norm_behind;
use lopper_engine::{Graph, Layer, NodeId};

impl Site {
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
            Need::InitialWeights
            | Need::UpdatedWeights
            | Need::Gradients
            | Need::LiveGradients
            | Need::Curvature(_) => None,
        })
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
