//! The rewrite: one batch norm after the other, in graph order.

use super::weights::Flushed;
use crate::weights::require_copy;
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{Graph, Layer, NodeId, Result};

/// Folds every batch norm that can be folded exactly, in graph order. The report gives each one's destination, or the
/// reason why it stays. The result is equivalent to `graph` in eval mode, but not in training.
pub fn fold(graph: &Graph) -> Result<Rewrite> {
    require_copy(graph, "fold")?;
    let mut folding = Folding::new(graph);
    let mut report = RewriteReport::new("fold");
    for (id, node) in graph.nodes().iter().enumerate() {
        let Layer::BatchNorm(bn) = &node.layer else { continue };
        match folding.destination(id, bn) {
            Ok(targets) => {
                let names: Vec<&str> = targets.iter().map(|t| graph.nodes()[t.node].name.as_str()).collect();
                let names = names.join(" and ");
                let mut flushed = Flushed::default();
                for target in &targets {
                    flushed += target.absorb(&mut folding.graph);
                }
                report.changed(&node.name, format!("into {names}{}", flushed.note()));
                folding.remove(id);
            }
            Err(why) => report.skipped(&node.name, why),
        }
    }
    Ok(Rewrite { graph: folding.finish()?, report })
}

/// A graph whose batch norms are being folded. Folded ones stay in place, so that ids do not change, until all are
/// removed at once.
pub(super) struct Folding {
    pub graph: Graph,
    /// For every node, the node that provides its value: itself or, for a folded batch norm, its input.
    source: Vec<NodeId>,
    /// For every node, the readers of its value.
    pub readers: Vec<Vec<NodeId>>,
    folded: Vec<NodeId>,
    /// The last node that stays.
    pub output: NodeId,
    /// For every node, its channels; none behind a flatten, where they depend on the image.
    pub widths: Vec<Option<usize>>,
}

impl Folding {
    fn new(graph: &Graph) -> Self {
        Self {
            graph: graph.clone(),
            source: (0..graph.nodes().len()).collect(),
            readers: graph.readers().to_vec(),
            folded: Vec::new(),
            output: graph.output(),
            widths: widths(graph),
        }
    }

    /// The node that node `id` reads. Folded nodes precede it in graph order, so their sources are final.
    pub fn input(&self, id: NodeId) -> NodeId {
        self.input_at(id, 0)
    }

    /// The node that node `id` reads as input `index`.
    pub fn input_at(&self, id: NodeId, index: usize) -> NodeId {
        self.source[self.graph.nodes()[id].inputs[index]]
    }

    /// Whether node `id` is a batch norm that has been folded.
    pub fn is_folded(&self, id: NodeId) -> bool {
        self.source[id] != id
    }

    /// Connects the readers of the batch norm `id` to its input.
    fn remove(&mut self, id: NodeId) {
        let input = self.input(id);
        self.source[id] = input;
        let readers = std::mem::take(&mut self.readers[id]);
        self.readers[input].retain(|&reader| reader != id);
        self.readers[input].extend(readers);
        self.folded.push(id);
        if id == self.output {
            self.output = input;
        }
    }

    /// The graph without the folded batch norms.
    fn finish(mut self) -> Result<Graph> {
        self.graph.bypass_all(&self.folded)?;
        Ok(self.graph)
    }
}

/// The channels of each node's output, where they do not depend on the image.
fn widths(graph: &Graph) -> Vec<Option<usize>> {
    let mut widths: Vec<Option<usize>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let input = |i: usize| widths[node.inputs[i]];
        widths.push(match &node.layer {
            Layer::Input { channels } => Some(*channels),
            Layer::Conv2d(conv) => Some(conv.out_channels()),
            Layer::CompactConv2d(compact) => Some(compact.fill.len()),
            Layer::Linear(linear) => Some(linear.out_features()),
            Layer::BatchNorm(bn) => Some(bn.channels()),
            Layer::LayerNorm(norm) => Some(norm.channels()),
            Layer::GroupNorm(norm) => Some(norm.channels()),
            Layer::PRelu(prelu) => Some(prelu.channels()),
            Layer::Gather { channels } => Some(channels.len()),
            Layer::Flatten => None,
            Layer::Concat => (0..node.inputs.len()).map(input).sum(),
            &Layer::PadShortcut { before, after, .. } => input(0).map(|width| before + width + after),
            Layer::Activation(_) | Layer::Pool(_) | Layer::Dropout { .. } | Layer::Add => input(0),
            Layer::Softmax { .. } | Layer::Multiply => input(0),
            Layer::Resize(_) | Layer::Dilate { .. } => input(0),
        });
    }
    widths
}
