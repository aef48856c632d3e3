//! Training only the last layers.

use crate::{Graph, Layer, NodeId};

/// Freezes the parameters of every node before `end`: optimizers skip them, and their gradients are not computed.
/// Batch norms stay trainable, as in fastai: they adapt to new images and cost next to nothing.
pub fn freeze(graph: &mut Graph, end: NodeId) {
    for id in 0..end.min(graph.nodes().len()) {
        let layer = graph.layer_mut(id);
        if !matches!(layer, Layer::BatchNorm(_)) {
            layer.params_mut().into_iter().for_each(|(_, param)| param.trainable = false);
        }
    }
}

/// Makes every parameter trainable.
pub fn unfreeze(graph: &mut Graph) {
    graph.params_mut().for_each(|(_, param)| param.trainable = true);
}
