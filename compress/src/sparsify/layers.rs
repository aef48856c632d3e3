//! Which layers are sparsified, and why the others are not.

use super::criterion::batch_norm_behind;
use super::{Criterion, Granularity, Groups, SparsifyConfig};
use crate::weights::{Filters, filters_mut};
use lopper_engine::{Graph, Layer, NodeId, Param, Result};
use std::collections::HashSet;

/// What becomes of a layer.
pub(super) enum Choice {
    /// Its weight is divided like this.
    Sparsify(Groups),
    /// It is left alone: why.
    Skip(String),
}

/// The choice for each convolution and linear layer of `graph`, in graph order. An error where `config` lists
/// a layer that is not there.
pub(super) fn choices(graph: &Graph, config: &SparsifyConfig) -> Result<Vec<(NodeId, Choice)>> {
    let weighted: Vec<NodeId> = (0..graph.nodes().len()).filter(|&id| has_weight(graph, id)).collect();
    let names = weighted.iter().map(|&id| graph.nodes()[id].name.as_str());
    config.lists().check("convolution or linear layer", names)?;
    let last = output_layers(graph);
    Ok(weighted.into_iter().map(|id| (id, choose(graph, config, id, last.contains(&id)))).collect())
}

/// The layers to sparsify and their groups, in graph order.
pub(super) fn chosen(graph: &Graph, config: &SparsifyConfig) -> Result<Vec<(NodeId, Groups)>> {
    let groups = |(id, choice)| match choice {
        Choice::Sparsify(groups) => Some((id, groups)),
        Choice::Skip(_) => None,
    };
    Ok(choices(graph, config)?.into_iter().filter_map(groups).collect())
}

/// The weight of a chosen layer.
pub(super) fn weight(graph: &Graph, id: NodeId) -> &Param {
    Filters::of(&graph.nodes()[id].layer).expect("chosen layers are convolutions and linear").weight
}

/// The weight of a chosen layer, for writing.
pub(super) fn weight_mut(graph: &mut Graph, id: NodeId) -> &mut Param {
    filters_mut(graph.layer_mut(id)).expect("chosen layers are convolutions and linear").0
}

fn choose(graph: &Graph, config: &SparsifyConfig, id: NodeId, is_output: bool) -> Choice {
    let node = &graph.nodes()[id];
    let SparsifyConfig { granularity, criterion, .. } = config;
    let skip = |why: &str| Choice::Skip(why.to_string());
    let Some(groups) = granularity.groups(&node.layer) else {
        return Choice::Skip(format!(
            "granularity {granularity} does not apply to a {} layer",
            node.layer.kind()
        ));
    };
    if let Some(why) = config.lists().skips(&node.name) {
        return skip(why);
    }
    if is_output && !config.lists().includes(&node.name) {
        return skip("it makes the network's output; include it by name to sparsify it");
    }
    if node.layer.params().iter().any(|(slot, p)| *slot == "weight" && !p.trainable) {
        return skip("frozen");
    }
    let whole_channels = matches!(granularity, Granularity::Kernel | Granularity::Filter);
    if whole_channels && matches!(&node.layer, Layer::Conv2d(conv) if conv.is_depthwise()) {
        return skip("depthwise: its channels live and die with the layer before it");
    }
    if *criterion == Criterion::BatchNormGamma && batch_norm_behind(graph, id).is_none() {
        return skip("no batch norm scales its output alone");
    }
    Choice::Sparsify(groups)
}

fn has_weight(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.nodes()[id].layer, Layer::Conv2d(_) | Layer::CompactConv2d(_) | Layer::Linear(_))
}

/// The convolutions and linear layers whose output reaches the network's without passing another one.
fn output_layers(graph: &Graph) -> HashSet<NodeId> {
    let (mut found, mut pending) = (HashSet::new(), vec![graph.output()]);
    // Each node once: sums of sums have more paths than nodes.
    let mut seen = vec![false; graph.nodes().len()];
    while let Some(id) = pending.pop() {
        if std::mem::replace(&mut seen[id], true) {
            continue;
        }
        if has_weight(graph, id) {
            found.insert(id);
        } else {
            pending.extend(&graph.nodes()[id].inputs);
        }
    }
    found
}
