//! From a sparsity to masks on parameters: the rewrite for a trained network, and the step that the callback repeats.

use super::layers::{self, Choice};
use super::select::{Scored, select};
use super::{SparsifyConfig, Taylor};
use engine::rewrite::{Report, Rewrite};
use engine::{Graph, NodeId, Result, Tensor};

/// How many of a layer's groups are dropped.
#[derive(Clone, Copy)]
pub(super) struct Tally {
    pub node: NodeId,
    pub groups: usize,
    pub dropped: usize,
}

/// Masks a network at once, at the sparsity that `config` asks for; its schedule is not read. [`Taylor`] holds the
/// gradients that the criterion of this name needs. Masks that are there already stay, and count.
///
/// The report has a line for each convolution and linear layer. No edit is needed: a mask holds by itself through
/// whatever momentum writes.
pub fn sparsify(graph: &Graph, config: &SparsifyConfig, taylor: Option<&Taylor>) -> Result<Rewrite> {
    config.check()?;
    let mut rewritten = graph.clone();
    let tallies = mask(&mut rewritten, config, config.sparsity, taylor)?;
    let mut report = Report::new("sparsify");
    let mut tallies = tallies.into_iter();
    for (id, choice) in layers::choices(graph, config)? {
        let name = &graph.nodes()[id].name;
        match (choice, config.granularity) {
            (Choice::Skip(why), _) => report.skipped(name, why),
            (Choice::Sparsify(_), unit) => {
                let Tally { groups, dropped, .. } =
                    tallies.find(|t| t.node == id).expect("every layer that is sparsified has a tally");
                report.changed(name, format!("{} of {groups} {unit}s kept", groups - dropped));
            }
        }
    }
    Ok(Rewrite { graph: rewritten, edits: Vec::new(), report })
}

/// Raises the sparsity of the chosen layers of `graph` to `sparsity`, by `config`'s criterion and context. A group
/// that is dropped never returns: its weights are zero, and so tell nothing of what it might be worth.
pub(super) fn mask(
    graph: &mut Graph,
    config: &SparsifyConfig,
    sparsity: f64,
    taylor: Option<&Taylor>,
) -> Result<Vec<Tally>> {
    let chosen = layers::chosen(graph, config)?;
    let scored = chosen.iter().map(|(node, groups)| {
        let mask = graph.param(&weight_of(graph, *node))?.mask();
        Ok(Scored {
            scores: config.criterion.scores(graph, *node, groups, config.seed, taylor)?,
            dead: mask.map_or(vec![false; groups.count()], |mask| groups.all(|i| mask.data()[i] == 0.0)),
        })
    });
    let scored = scored.collect::<Result<Vec<Scored>>>()?;
    let dropped = select(&scored, config.context, sparsity);
    for (((node, groups), before), dropped) in chosen.iter().zip(&scored).zip(&dropped) {
        if *dropped != before.dead {
            let keep: Vec<bool> = dropped.iter().map(|d| !d).collect();
            let weight = graph.param_mut(&weight_of(graph, *node))?;
            let mask = groups.mask(&keep, weight.value().shape());
            let mask = both(mask, weight.mask());
            weight.set_mask(Some(mask))?;
        }
    }
    let tally = |((node, groups), dropped): (&(NodeId, super::Groups), &Vec<bool>)| Tally {
        node: *node,
        groups: groups.count(),
        dropped: dropped.iter().filter(|&&d| d).count(),
    };
    Ok(chosen.iter().zip(&dropped).map(tally).collect())
}

/// The path of a node's weight.
fn weight_of(graph: &Graph, node: NodeId) -> String {
    format!("{}.weight", graph.nodes()[node].name)
}

/// The mask that keeps what both keep: the old one may be of a finer granularity.
fn both(mut mask: Tensor, old: Option<&Tensor>) -> Tensor {
    if let Some(old) = old {
        mask.data_mut().iter_mut().zip(old.data()).for_each(|(new, &old)| *new *= old);
    }
    mask
}
