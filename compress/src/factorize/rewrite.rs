//! The rewrite: a layer becomes several.

use super::budget::{self, Offer};
use super::cost::cost;
use super::latency;
use super::layers::{replace, shapes};
use super::split::Unfolding;
use super::way::{Split, Way, matrix_of, split};
use super::{FactorizeConfig, Spectrum};
use crate::criteria::{Evidence, Site};
use crate::targets::LINE;
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{Error, Graph, NodeId, Result};
use std::collections::BTreeMap;

/// Splits each layer that `config` selects into factors. The report gives ranks, sizes and errors. Fails if an option is
/// invalid, a weight is not finite, or the metric needs evidence. A mask on a weight is dropped with the weight.
pub fn factorize(graph: &Graph, config: &FactorizeConfig) -> Result<Rewrite> {
    Ok(decompose(graph, config, None)?.0)
}

/// [`factorize`] with what the metric needs: [`Evidence::measure`] at [`FactorizeConfig::sites`].
pub fn factorize_by(graph: &Graph, config: &FactorizeConfig, evidence: &Evidence) -> Result<Rewrite> {
    Ok(decompose(graph, config, Some(evidence))?.0)
}

impl FactorizeConfig {
    /// Where the metric is measured, in graph order: the layers that are split. Empty for one that needs no images.
    pub fn sites(&self, graph: &Graph) -> Result<Vec<Site>> {
        self.check_lists(graph)?;
        let selected = (0..graph.nodes().len()).filter(|&id| matches!(self.choose(graph, id), Some(Ok(_))));
        Ok(selected.filter_map(|id| self.metric.site(graph, id)).collect())
    }
}

/// Like [`factorize`], and returns the singular values of the matrices that were split.
pub(super) fn decompose(
    graph: &Graph,
    config: &FactorizeConfig,
    evidence: Option<&Evidence>,
) -> Result<(Rewrite, Vec<Spectrum>)> {
    config.check()?;
    config.check_lists(graph)?;
    let shapes = shapes(graph)?;
    let (ranks, note) = match (config.target_macs, config.target_latency) {
        (Some(share), _) => (Some(budgeted(graph, config, evidence, share)?), None),
        (None, Some(_)) => {
            let (ranks, note) = latency::ranks(graph, config, evidence)?;
            (Some(ranks), Some(note))
        }
        (None, None) => (None, None),
    };
    let mut rewrite = Rewrite { graph: graph.clone(), report: RewriteReport::new("factorize") };
    let mut spectra = Vec::new();
    // Each layer that was split moves those behind it.
    let mut inserted = 0;
    for (id, node) in graph.nodes().iter().enumerate() {
        let way = match config.choose(graph, id) {
            None => continue,
            Some(Ok(way)) => way,
            Some(Err(why)) => {
                rewrite.report.skipped(&node.name, why);
                continue;
            }
        };
        let way = match ranks.as_ref().map(|ranks| ranks.get(&id)) {
            None => way,
            Some(Some(&(unfolding, rank))) => Way::OfRank(unfolding, rank),
            Some(None) => {
                rewrite
                    .report
                    .skipped(&node.name, "stays whole: ranks elsewhere lose less for what they save");
                continue;
            }
        };
        let scales = config.metric.scales(graph, id, evidence).map_err(|e| e.in_node(&node.name))?;
        let x = shapes.as_ref().map(|shapes| shapes[node.inputs[0]].as_slice());
        match split(&node.layer, way, config, &scales, x).map_err(|e| e.in_node(&node.name))? {
            Ok(Split { layers, summary, spectrum }) => {
                rewrite.report.changed(&node.name, summary);
                inserted += replace(&mut rewrite.graph, id + inserted, layers)?;
                spectra.extend(spectrum.map(|spectrum| Spectrum { layer: node.name.clone(), ..spectrum }));
            }
            Err(why) => rewrite.report.skipped(&node.name, why),
        }
    }
    note.into_iter().for_each(|note| rewrite.report.changed(LINE, note));
    Ok((rewrite, spectra))
}

/// The rank of each layer that is split, such that the network keeps `share` of its multiply-accumulates.
fn budgeted(
    graph: &Graph,
    config: &FactorizeConfig,
    evidence: Option<&Evidence>,
    share: f64,
) -> Result<BTreeMap<NodeId, (Unfolding, usize)>> {
    let shapes = shapes(graph)?.ok_or_else(|| {
        Error::invalid(
            "factorize target_macs: the model does not say how large its images are: choose another rule",
        )
    })?;
    let costs = graph.costs(graph.info.input)?;
    let (mut offers, mut others) = (Vec::new(), costs.iter().map(|cost| cost.macs).sum::<u64>());
    for (id, node) in graph.nodes().iter().enumerate() {
        let Some(Ok(way)) = config.choose(graph, id) else { continue };
        let scales = config.metric.scales(graph, id, evidence)?;
        let (weight, x) = (matrix_of(&node.layer, &scales), shapes[node.inputs[0]].as_slice());
        // The ways of the layer at the same cost: the one that is left with the smaller error.
        let mut best: Option<(f64, Offer)> = None;
        for unfolding in way.unfoldings() {
            let svd = super::way::decomposed(unfolding, &weight).map_err(|e| e.in_node(&node.name))?;
            let squares = svd.squares().to_vec();
            let outline = unfolding.outline(&node.layer, weight.shape(), 1);
            let per_rank = cost(&outline, Some(x))?.macs.max(1);
            let rank = (share * costs[id].macs as f64 / per_rank as f64) as usize;
            let error = super::rule::relative_error(&squares, rank);
            if best.as_ref().is_none_or(|(least, _)| error < *least) {
                best = Some((error, Offer { node: id, unfolding, squares, per_rank, whole: costs[id].macs }));
            }
        }
        others -= costs[id].macs;
        offers.extend(best.map(|(_, offer)| offer));
    }
    budget::ranks(offers, others, share)
}
