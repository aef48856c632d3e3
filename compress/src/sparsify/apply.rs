//! Applies a sparsity as masks on parameters: the rewrite of a trained network, and the update that the callback
//! repeats.

use super::SparsifyConfig;
use super::drop::{drop_groups, dropped_by};
use super::layers::{self, Target};
use super::target::to_target;
use crate::criteria::{Evidence, Site};
use crate::select::{Context, Scored, select_beside};
use crate::weights::require_copy;
use lopper_engine::channels::Slices;
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{Error, Graph, NodeId, Result, Tensor};
use std::collections::BTreeMap;

/// Masks a network at once, at the final sparsity of `config`; its schedule is ignored. `evidence` holds what the
/// criterion needs besides the weights: [`Evidence::measure`] at [`SparsifyConfig::sites`]. Existing masks stay and
/// count toward the sparsity. With a target, each layer gets the pattern and the sparsity that lose the least for what they
/// save; the last line of the report says what is reached.
///
/// # Errors
/// [`Error::Invalid`] if an option is invalid, no layer is left to sparsify, or evidence is missing.
pub fn sparsify(graph: &Graph, config: &SparsifyConfig, evidence: Option<&Evidence>) -> Result<Rewrite> {
    config.check()?;
    require_copy(graph, "sparsify")?;
    if config.target.is_some() {
        return to_target(graph, config, evidence);
    }
    layers::some_targets(graph, config)?;
    let mut graph = graph.clone();
    let (sparsity, rounds) = (config.final_sparsity()?, config.criterion.rounds().max(1));
    for round in 1..=rounds {
        // What is kept falls by the same factor in each round (Tanaka et al. 2020, algorithm 1).
        let kept = (1.0 - sparsity).powf(round as f64 / rounds as f64);
        let target = if round == rounds { sparsity } else { 1.0 - kept };
        mask(&mut graph, config, target, evidence)?;
    }
    let report = report(&graph, config)?;
    Ok(Rewrite { graph, report })
}

impl SparsifyConfig {
    /// Where the criterion scores the layers of `graph` that are sparsified, in graph order. Evidence is
    /// gathered there. An error if a list names a layer that does not exist.
    pub fn sites(&self, graph: &Graph) -> Result<Vec<Site>> {
        Ok(layers::targets(graph, &self.scored())?.into_iter().map(|target| target.site).collect())
    }
}

/// Reports how many groups the masks of `graph` keep in each convolution and linear layer, or why `config` skips it.
pub(super) fn report(graph: &Graph, config: &SparsifyConfig) -> Result<RewriteReport> {
    let mut report = RewriteReport::new("sparsify");
    for (id, choice) in layers::choices(graph, config)? {
        let name = &graph.nodes()[id].name;
        match choice {
            Err(why) => report.skipped(name, why),
            Ok(target) => {
                let dead = dropped_by(layers::weight(graph, id).mask(), &target.groups);
                let (kept, all) = (dead.iter().filter(|&&d| !d).count(), dead.len());
                report.changed(name, format!("{kept} of {all} {}s kept", config.granularity.name()));
            }
        }
    }
    Ok(report)
}

/// Raises the sparsity of the selected layers of `graph` to `sparsity` and returns the fraction of their groups that is
/// dropped afterwards. No dropped group returns: its weights are zero, so its score would say nothing.
pub(super) fn mask(
    graph: &mut Graph,
    config: &SparsifyConfig,
    sparsity: f64,
    evidence: Option<&Evidence>,
) -> Result<f64> {
    let targets = layers::targets(graph, config)?;
    let scored = scored(graph, config, &targets, evidence)?;
    let dead = scored.iter().map(|layer| layer.dead.clone()).collect();
    let dropped = chosen(graph, config, &targets, &scored, sparsity, dead)?;
    for ((target, before), dropped) in targets.iter().zip(&scored).zip(&dropped) {
        if *dropped != before.dead {
            drop_groups(layers::weight_mut(graph, target.node), &target.groups, dropped)?;
        }
    }
    Ok(fraction(&dropped))
}

/// A snapshot of the masks of the layers that a configuration sparsifies.
#[derive(Clone, Debug, Default)]
pub(super) struct Masks(BTreeMap<NodeId, Option<Tensor>>);

impl Masks {
    /// The current masks of `graph`.
    pub fn of(graph: &Graph, config: &SparsifyConfig) -> Result<Self> {
        let mask = |target: Target| (target.node, layers::weight(graph, target.node).mask().cloned());
        Ok(Self(layers::targets(graph, config)?.into_iter().map(mask).collect()))
    }

    /// The masks by node, as a checkpoint keeps them.
    pub fn parts(&self) -> BTreeMap<String, Tensor> {
        let mask = |(node, mask): (&NodeId, &Option<Tensor>)| Some((node.to_string(), mask.clone()?));
        self.0.iter().filter_map(mask).collect()
    }

    /// The snapshot that [`Masks::parts`] took apart.
    pub fn from_parts(parts: BTreeMap<String, Tensor>) -> Result<Self> {
        let mask = |(node, mask): (String, Tensor)| match node.parse() {
            Ok(node) => Ok((node, Some(mask))),
            Err(_) => {
                Err(Error::invalid(format!("checkpoint: expected a mask of a node, found one of `{node}`")))
            }
        };
        parts.into_iter().map(mask).collect::<Result<_>>().map(Self)
    }

    /// Keeps the slices `slices` of each mask, when the network `graph` loses channels.
    pub fn shrink(&mut self, graph: &Graph, slices: &Slices) {
        for (node, mask) in &mut self.0 {
            let path = format!("{}.weight", graph.nodes()[*node].name);
            mask.iter_mut().for_each(|mask| *mask = slices.of_tensor(&path, mask));
        }
    }

    /// Lowers the sparsity of the selected layers of `graph` to `sparsity`. Groups return with weights of zero, highest
    /// scores first; groups that this snapshot drops stay dropped. Returns the fraction of groups that is still
    /// dropped.
    pub fn release(
        &self,
        graph: &mut Graph,
        config: &SparsifyConfig,
        sparsity: f64,
        evidence: Option<&Evidence>,
    ) -> Result<f64> {
        let targets = layers::targets(graph, config)?;
        let scored = scored(graph, config, &targets, evidence)?;
        let mask = |target: &Target| self.0.get(&target.node).and_then(Option::as_ref);
        for target in &targets {
            let (node, weight) = (&graph.nodes()[target.node], layers::weight(graph, target.node).value());
            if let Some(mask) = mask(target).filter(|mask| mask.shape() != weight.shape()) {
                let (mask, weight) = (mask.shape(), weight.shape());
                return Err(Error::invalid(format!(
                    "layer `{}`: an earlier mask {mask:?} for a weight {weight:?}",
                    node.name
                )));
            }
        }
        let before = targets.iter().map(|target| dropped_by(mask(target), &target.groups)).collect();
        let dropped = chosen(graph, config, &targets, &scored, sparsity, before)?;
        for (target, dropped) in targets.iter().zip(&dropped) {
            let weight = layers::weight_mut(graph, target.node);
            weight.set_mask(mask(target).cloned())?;
            if dropped.contains(&true) {
                drop_groups(weight, &target.groups, dropped)?;
            }
        }
        Ok(fraction(&dropped))
    }
}

/// Which groups of each layer are dropped when the sparsity has grown to `sparsity`, besides those of `before`.
fn chosen(
    graph: &Graph,
    config: &SparsifyConfig,
    targets: &[Target],
    scored: &[Scored],
    sparsity: f64,
    before: Vec<Vec<bool>>,
) -> Result<Vec<Vec<bool>>> {
    if config.sparsities.is_empty() {
        return match (config.context, config.granularity.quota()) {
            (Context::Stage, None) => by_stage(graph, targets, scored, sparsity, before),
            _ => Ok(select_beside(scored, config.rule(), sparsity, before)),
        };
    }
    let whole = config.final_sparsity()?;
    let share = if whole > 0.0 { sparsity / whole } else { 0.0 };
    let of_layer = |((target, scored), before): ((&Target, &Scored), Vec<bool>)| {
        let own = config.own_sparsity(&graph.nodes()[target.node].name)?.unwrap_or(0.0);
        let layer = std::slice::from_ref(scored);
        Ok(select_beside(layer, Context::Local, own * share, vec![before]).concat())
    };
    targets.iter().zip(scored).zip(before).map(of_layer).collect()
}

/// Which groups are dropped if those of layers whose outputs have the same size of image compete.
fn by_stage(
    graph: &Graph,
    targets: &[Target],
    scored: &[Scored],
    sparsity: f64,
    before: Vec<Vec<bool>>,
) -> Result<Vec<Vec<bool>>> {
    let [h, w, c] = graph.info.input;
    if h * w * c == 0 {
        return Err(Error::invalid(
            "sparsify context stage: the model does not say how large its images are",
        ));
    }
    let shapes = graph.shapes([1, h, w, c])?;
    let mut stages: BTreeMap<&[usize], Vec<usize>> = BTreeMap::new();
    for (index, target) in targets.iter().enumerate() {
        let shape = shapes[target.node].as_slice();
        stages.entry(&shape[1..shape.len() - 1]).or_default().push(index);
    }
    let mut dropped = before;
    for members in stages.into_values() {
        let layers: Vec<Scored> = members.iter().map(|&index| scored[index].clone()).collect();
        let part = members.iter().map(|&index| std::mem::take(&mut dropped[index])).collect();
        let chosen = select_beside(&layers, Context::Global, sparsity, part);
        members.iter().zip(chosen).for_each(|(&index, chosen)| dropped[index] = chosen);
    }
    Ok(dropped)
}

/// The scores of the groups of `targets`, and which of them are dropped.
fn scored(
    graph: &Graph,
    config: &SparsifyConfig,
    targets: &[Target],
    evidence: Option<&Evidence>,
) -> Result<Vec<Scored>> {
    let sites: Vec<Site> = targets.iter().map(|target| target.site).collect();
    let surveyed = Evidence::survey(&config.criterion, graph, &sites)?;
    let scoring = config.scoring(surveyed.as_ref().or(evidence));
    let scored = targets.iter().map(|target| {
        let dead = dropped_by(layers::weight(graph, target.node).mask(), &target.groups);
        Ok(Scored { scores: scoring.scores(graph, &target.site)?, dead })
    });
    scored.collect()
}

/// The fraction of groups that is dropped.
fn fraction(dropped: &[Vec<bool>]) -> f64 {
    let groups = dropped.iter().flatten();
    groups.clone().filter(|&&d| d).count() as f64 / groups.count().max(1) as f64
}
