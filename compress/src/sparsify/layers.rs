//! Selects the layers to sparsify, and gives the reason for each one that is skipped.

use super::SparsifyConfig;
use crate::criteria::Site;
use crate::granularity::Groups;
use lopper_engine::channels::{Filters, filters_mut, has_weight, is_depthwise};
use lopper_engine::{Error, Graph, NodeId, Param, Result};
use std::collections::HashSet;

/// A layer that is sparsified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The layer.
    pub node: NodeId,
    /// The division of its weight.
    pub groups: Groups,
    /// Where its groups are scored.
    pub site: Site,
}

/// A layer to sparsify, or why it is skipped.
pub(super) type Selection = std::result::Result<Target, String>;

/// The choice for each convolution and linear layer of `graph`, in graph order. An error if `config` lists a
/// layer that does not exist.
pub(super) fn choices(graph: &Graph, config: &SparsifyConfig) -> Result<Vec<(NodeId, Selection)>> {
    let weighted: Vec<NodeId> =
        (0..graph.nodes().len()).filter(|&id| has_weight(&graph.nodes()[id].layer)).collect();
    let names = weighted.iter().map(|&id| graph.nodes()[id].name.as_str());
    config.lists().check("convolution or linear layer", names)?;
    let last = output_layers(graph);
    let readers = graph.readers();
    Ok(weighted.into_iter().map(|id| (id, choose(graph, readers, config, id, last.contains(&id)))).collect())
}

/// The layers to sparsify, in graph order.
pub(crate) fn targets(graph: &Graph, config: &SparsifyConfig) -> Result<Vec<Target>> {
    Ok(choices(graph, config)?.into_iter().filter_map(|(_, choice)| choice.ok()).collect())
}

/// [`targets`], or an error with the reasons if there are none.
pub(crate) fn some_targets(graph: &Graph, config: &SparsifyConfig) -> Result<Vec<Target>> {
    let choices = choices(graph, config)?;
    if choices.iter().all(|(_, choice)| choice.is_err()) {
        let reason = |(id, choice): &(NodeId, Selection)| {
            Some(format!("`{}`: {}", graph.nodes()[*id].name, choice.as_ref().err()?))
        };
        let mut reasons: Vec<String> = choices.iter().take(REASONS).filter_map(reason).collect();
        if choices.len() > REASONS {
            reasons.push(format!("and {} more", choices.len() - REASONS));
        }
        return Err(Error::invalid(format!(
            "sparsify: no layer is left to sparsify at granularity {} by criterion {} ({}): set granularity, include or \
             exclude such that one is",
            config.granularity,
            config.criterion,
            reasons.join("; ")
        )));
    }
    let targets: Vec<Target> = choices.into_iter().filter_map(|(_, choice)| choice.ok()).collect();
    config.check_patterns(targets.iter().map(|target| graph.nodes()[target.node].name.as_str()))?;
    Ok(targets)
}

/// The most layers whose reasons an error lists.
const REASONS: usize = 3;

/// The weight of a selected layer.
pub(crate) fn weight(graph: &Graph, id: NodeId) -> &Param {
    Filters::of(&graph.nodes()[id].layer).expect("selected layers are convolutions or linear").weight
}

/// The weight of a selected layer, mutable.
pub(crate) fn weight_mut(graph: &mut Graph, id: NodeId) -> &mut Param {
    filters_mut(graph.layer_mut(id)).expect("selected layers are convolutions or linear").0
}

fn choose(
    graph: &Graph,
    readers: &[Vec<NodeId>],
    config: &SparsifyConfig,
    id: NodeId,
    is_output: bool,
) -> Selection {
    let node = &graph.nodes()[id];
    let skip = |why: &str| Err(why.to_string());
    let groups = config.granularity.groups(&node.layer)?;
    if let Some(why) = config.lists().skips(&node.name) {
        return skip(why);
    }
    if is_output && !config.lists().includes(&node.name) {
        return skip("it makes the network's output; include it by name to sparsify it");
    }
    if node.layer.params().iter().any(|(slot, p)| *slot == "weight" && !p.trainable) {
        return skip("frozen");
    }
    if config.granularity.takes_whole_kernels() && is_depthwise(&node.layer) {
        return skip("depthwise: its channels are tied to those of the layer before it");
    }
    let site = Site::find(&config.criterion, graph, readers, id, groups)?;
    Ok(Target { node: id, groups, site })
}

/// The convolutions and linear layers whose output reaches the network's output without passing through another one.
fn output_layers(graph: &Graph) -> HashSet<NodeId> {
    let (mut found, mut pending) = (HashSet::new(), vec![graph.output()]);
    // Each node once: sums of sums have more paths than nodes.
    let mut seen = vec![false; graph.nodes().len()];
    while let Some(id) = pending.pop() {
        if std::mem::replace(&mut seen[id], true) {
            continue;
        }
        if has_weight(&graph.nodes()[id].layer) {
            found.insert(id);
        } else {
            pending.extend(&graph.nodes()[id].inputs);
        }
    }
    found
}
