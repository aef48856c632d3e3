//! Sharing at once.

use super::ShareConfig;
use super::clusters::{bytes, nearest, values};
use lopper_engine::channels::{Filters, filters_mut};
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{Error, Graph, NodeId, Param, Result, memory};

/// Replaces the weights of each layer that `config` selects by few values. The report gives their number, the bits of a code
/// by Huffman's algorithm at best, and the error.
///
/// # Errors
/// If an option is invalid, or a weight is not finite.
pub fn share(graph: &Graph, config: &ShareConfig) -> Result<Rewrite> {
    config.check()?;
    let mut rewrite = Rewrite { graph: graph.clone(), report: RewriteReport::new("share") };
    for (id, choice) in config.layers(graph)? {
        let name = &graph.nodes()[id].name;
        match choice {
            Err(why) => rewrite.report.skipped(name, why),
            Ok(most) => {
                let weight = filters_mut(rewrite.graph.layer_mut(id)).expect("chosen layers have weights").0;
                let summary = quantize(weight, most, seed(config, id)).map_err(|e| e.in_node(name))?;
                rewrite.report.changed(name, summary);
            }
        }
    }
    Ok(rewrite)
}

/// The seed of layer `id`.
fn seed(config: &ShareConfig, id: NodeId) -> u64 {
    config.seed ^ (id as u64) << 32
}

/// The live weights of `param`.
fn live(param: &Param) -> impl Iterator<Item = f32> {
    let mask = param.mask().map(|mask| mask.data());
    let weights = param.value().data().iter().enumerate();
    weights.filter(move |(i, _)| mask.is_none_or(|mask| mask[*i] != 0.0)).map(|(_, &w)| w)
}

/// Replaces the live weights of `param` by at most `most` values.
fn quantize(param: &mut Param, most: usize, seed: u64) -> Result<String> {
    memory::require("the clusters of a layer's weights", bytes(param.value().len()))?;
    if let Some(weight) = live(param).find(|w| !w.is_finite()) {
        return Err(Error::invalid(format!("share: expected finite weights, found {weight}")));
    }
    let values = values(live(param), most, seed);
    let (mut counts, mut gap, mut whole) = (vec![0usize; values.len()], 0.0, 0.0);
    for w in live(param) {
        let code = nearest(&values, w);
        counts[code] += 1;
        gap += (f64::from(w) - f64::from(values[code])).powi(2);
        whole += f64::from(w).powi(2);
    }
    if !values.is_empty() {
        param.update(|weights| weights.iter_mut().for_each(|w| *w = values[nearest(&values, *w)]));
    }
    let all = counts.iter().sum::<usize>().max(1) as f64;
    let share =
        |&count: &usize| if count == 0 { 0.0 } else { -(count as f64 / all) * (count as f64 / all).log2() };
    let entropy: f64 = counts.iter().map(share).sum();
    let error = if whole == 0.0 { 0.0 } else { (gap / whole).sqrt() };
    let used = counts.iter().filter(|&&count| count > 0).count();
    Ok(format!("{used} values, {entropy:.2} bits a live weight, relative error {error:.4}"))
}

/// The index of the value of each weight of the layer `id`, or one more than the last for a masked weight, and the number of
/// values.
pub(super) fn codes(graph: &Graph, id: NodeId) -> (Vec<f32>, usize) {
    let weight = Filters::of(&graph.nodes()[id].layer).expect("chosen layers have weights").weight;
    let mut values: Vec<f32> = live(weight).collect();
    values.sort_unstable_by(f32::total_cmp);
    values.dedup_by_key(|w| w.to_bits());
    let mask = weight.mask().map(|mask| mask.data());
    let code = |(i, w): (usize, &f32)| match mask.is_some_and(|mask| mask[i] == 0.0) {
        true => values.len() as f32,
        false => values.partition_point(|value| value.total_cmp(w).is_lt()) as f32,
    };
    (weight.value().data().iter().enumerate().map(code).collect(), values.len())
}
