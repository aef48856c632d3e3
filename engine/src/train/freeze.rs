//! Training some layers alone.

use crate::{Graph, Layer};

/// Freezes the parameters of every node whose name `frozen` accepts. Batch norms stay trainable, as in fastai: what
/// feeds them may be frozen, their statistics move all the same. Returns the number of nodes that are now frozen.
pub fn freeze(graph: &mut Graph, frozen: impl Fn(&str) -> bool) -> usize {
    let mut count = 0;
    for id in 0..graph.nodes().len() {
        let node = &graph.nodes()[id];
        if matches!(node.layer, Layer::BatchNorm(_)) || !frozen(&node.name) {
            continue;
        }
        let mut params = graph.layer_mut(id).params_mut();
        params.iter_mut().for_each(|(_, p)| p.trainable = false);
        count += usize::from(!params.is_empty());
    }
    count
}

/// Makes every parameter trainable.
pub fn unfreeze(graph: &mut Graph) {
    graph.params_mut().for_each(|(_, p)| p.trainable = true);
}
