//! Ranks for all layers together: the most of every weight that a latency buys.
//!
//! ```text
//!   layer × (unfolding, rank) ─┬─ loss: Σ_{i > rank} σ_i² / Σ σ_i²     ┐
//!                              └─ price: the plan's estimate of factors ┴─ knapsack ─► ranks ─► measure ─► correct
//! ```
//!
//! Unlike multiply-accumulates, times are no multiple of a rank: filters are computed in panels, and Winograd's algorithm
//! takes a whole 3×3 convolution for a fraction of its products. So every rank has a price of its own, and a layer that no
//! rank makes faster stays whole. What is measured are factors of zeros, which take as long as others: a plan leaves out only
//! what a mask drops.

use super::FactorizeConfig;
use super::layers::{replace, shapes};
use super::split::Unfolding;
use super::way::{decomposed, matrix_of};
use crate::criteria::Evidence;
use crate::targets::{Choices, Item, Offer, Offers, Solution, choose, milliseconds, to_latency, whole};
use crate::techniques::Clock;
use lopper_engine::plan::Outline;
use lopper_engine::{Device, Error, Graph, Layer, NodeId, Result};
use std::collections::BTreeMap;

/// Most ranks of a layer and an unfolding that are compared.
const RANKS: usize = 48;
/// Where not all are: ranks are multiples of this, as filters are computed in vectors.
const VECTOR: usize = 8;

/// The rank of each layer that is split, by the matrix whose singular values are cut off.
type Ranks = BTreeMap<NodeId, (Unfolding, usize)>;

/// The ranks by which `graph` reaches the latency of `config`, and what they reach in words.
///
/// # Errors
/// If no ranks reach it, or the model does not say how large its images are.
pub(super) fn ranks(
    graph: &Graph,
    config: &FactorizeConfig,
    evidence: Option<&Evidence>,
) -> Result<(Ranks, String)> {
    let missing = || Error::invalid("factorize: expected a target_latency");
    let amount = config.target_latency.ok_or_else(missing)?;
    let problem = Problem::new(graph, config, evidence)?;
    let asked = (amount, config.batch());
    let (plan, note) = to_latency("factorize", graph, asked, config.clock.clock(), &problem)?;
    Ok((problem.ranks(&plan), note))
}

/// The knapsack of a network.
struct Problem<'a> {
    graph: &'a Graph,
    nodes: Vec<NodeId>,
    offers: Vec<Offer<Option<(Unfolding, usize)>>>,
    items: Vec<Item>,
    /// The estimated price of everything that is not split.
    others: f64,
}

impl<'a> Problem<'a> {
    fn new(graph: &'a Graph, config: &FactorizeConfig, evidence: Option<&Evidence>) -> Result<Self> {
        let shapes = shapes(graph)?.ok_or_else(|| {
            Error::invalid(
                "factorize target_latency: the model does not say how large its images are: choose another rule",
            )
        })?;
        let pricing = Pricing::new(config, graph);
        let mut others = pricing.network(graph)?;
        let (mut nodes, mut offers) = (Vec::new(), Vec::new());
        for (id, node) in graph.nodes().iter().enumerate() {
            let Some(Ok(way)) = config.choose(graph, id) else { continue };
            let scales = config.metric.scales(graph, id, evidence)?;
            let (weight, x) = (matrix_of(&node.layer, &scales), shapes[node.inputs[0]].as_slice());
            let whole = pricing.layers(std::slice::from_ref(&node.layer), x)?;
            let mut choices = Vec::new();
            for unfolding in way.unfoldings() {
                let svd = decomposed(unfolding, &weight).map_err(|e| e.in_node(&node.name))?;
                let errors = tails(svd.squares());
                for rank in ranks_of(svd.squares().len()) {
                    let factors = unfolding.outline(&node.layer, weight.shape(), rank);
                    let price = pricing.layers(&factors, x)?;
                    choices.push((Some((unfolding, rank)), errors[rank], price));
                }
            }
            others -= whole;
            nodes.push(id);
            offers.push(Offer::new(choices, (None, whole)));
        }
        let items = offers.iter().map(Offer::item).collect();
        // The parts of a plan are fused, so that their estimates need not add up to the last digit.
        Ok(Self { graph, nodes, offers, items, others: others.max(0.0) })
    }

    fn prices(&self) -> Offers<'_, Option<(Unfolding, usize)>> {
        Offers { offers: &self.offers, others: self.others }
    }

    fn ranks(&self, plan: &[usize]) -> Ranks {
        let of = |((&node, offer), &chosen): ((&NodeId, &Offer<_>), &usize)| {
            let chosen: &Option<(Unfolding, usize)> = &offer.choices[chosen];
            Some((node, (*chosen)?))
        };
        self.nodes.iter().zip(&self.offers).zip(plan).filter_map(of).collect()
    }
}

impl Choices for Problem<'_> {
    type Plan = Vec<usize>;

    fn solve(&self, budget: f64) -> Result<Solution<Vec<usize>>> {
        Ok(choose(&self.items, &self.prices(), budget))
    }

    fn whole(&self) -> f64 {
        whole(&self.items, &self.prices())
    }

    fn network(&self, plan: &Vec<usize>) -> Result<Graph> {
        let (mut graph, mut inserted) = (self.graph.clone(), 0);
        for (node, (unfolding, rank)) in self.ranks(plan) {
            let layer = &self.graph.nodes()[node].layer;
            let shape = layer.params()[0].1.value().shape().to_vec();
            inserted += replace(&mut graph, node + inserted, unfolding.outline(layer, &shape, rank))?;
        }
        Ok(graph)
    }

    fn impossible(&self, goal: f64, least: f64) -> Error {
        Error::invalid(format!(
            "factorize target_latency: {goal:.3} ms cannot be reached: {least:.3} ms is the least, where every layer has the \
             rank that is fastest; raise the target, or prune channels, or split more layers (`conv`)"
        ))
    }
}

/// The ranks up to `full` that are compared, ascending.
fn ranks_of(full: usize) -> Vec<usize> {
    if full <= RANKS {
        return (1..=full).collect();
    }
    let step = |i: usize| (i * full).div_ceil(RANKS).next_multiple_of(VECTOR).min(full);
    let mut ranks: Vec<usize> = (1..=RANKS).map(step).collect();
    ranks.dedup();
    ranks
}

/// For each rank from 0 on, the share of Σ σ² that it leaves out.
fn tails(squares: &[f64]) -> Vec<f64> {
    let mut tails = vec![0.0; squares.len() + 1];
    for (rank, square) in squares.iter().enumerate().rev() {
        tails[rank] = tails[rank + 1] + square;
    }
    let all = tails[0];
    tails.iter().map(|tail| if all > 0.0 { tail / all } else { 0.0 }).collect()
}

/// Estimates of milliseconds.
struct Pricing<'a> {
    /// The network that layers are part of.
    whole: &'a Graph,
    clock: Option<&'a dyn Clock>,
    device: Device,
    batch: usize,
}

impl<'a> Pricing<'a> {
    fn new(config: &'a FactorizeConfig, whole: &'a Graph) -> Self {
        let clock = config.clock.clock();
        let device = clock.map_or_else(Device::cpu, |clock| clock.device().clone());
        Self { whole, clock, device, batch: config.batch() }
    }

    fn network(&self, graph: &Graph) -> Result<f64> {
        let [h, w, c] = graph.info.input;
        let shape = [self.batch, h, w, c];
        let outline = Outline::new(graph, shape, &self.device)?.within(self.whole);
        let shapes = graph.shapes(shape)?;
        let width = |node: NodeId| shapes[node].last().copied().unwrap_or(1);
        let price = |step: usize| milliseconds(&outline.amount(step, width), self.clock);
        Ok((0..outline.len()).map(price).sum())
    }

    /// The price of `layers`, one behind the other, of which the first reads `x`: `[1, H, W, C]` or `[1, IN]`.
    fn layers(&self, layers: &[Layer], x: &[usize]) -> Result<f64> {
        let (image, flat) = match *x {
            [_, h, w, c] => ([h, w, c], false),
            _ => ([1, 1, x.last().copied().unwrap_or(1)], true),
        };
        let mut graph = Graph::new(image[2]);
        graph.info.input = image;
        let mut last = 0;
        if flat {
            last = graph.push("flatten", Layer::Flatten, &[last])?;
        }
        for (index, layer) in layers.iter().enumerate() {
            last = graph.push(index.to_string(), layer.clone(), &[last])?;
        }
        self.network(&graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factorize::ConvSplit;
    use crate::targets::Amount as Target;
    use crate::testing::{conv, linear};

    #[test]
    fn ranks_are_all_or_whole_vectors() {
        assert_eq!(ranks_of(5), [1, 2, 3, 4, 5]);
        let ranks = ranks_of(500);
        assert!(ranks.len() <= RANKS && ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert!(ranks.iter().all(|rank| rank % VECTOR == 0 || *rank == 500), "{ranks:?}");
        assert_eq!(*ranks.last().unwrap(), 500);
    }

    #[test]
    fn tails_are_what_ranks_leave_out() {
        assert_eq!(tails(&[6.0, 3.0, 1.0]), [1.0, 0.4, 0.1, 0.0]);
        assert_eq!(tails(&[0.0, 0.0]), [0.0; 3]);
    }

    /// Two pointwise convolutions and a linear layer, on 8×8 pixels.
    fn network() -> Graph {
        let mut graph = Graph::new(64);
        graph.info.input = [8, 8, 64];
        let a = graph.push("a", conv(128, 1, 64, 1), &[0]).unwrap();
        let b = graph.push("b", conv(96, 1, 128, 1), &[a]).unwrap();
        let flat = graph.push("flat", Layer::Flatten, &[b]).unwrap();
        graph.push("fc", linear(64, 96 * 64), &[flat]).unwrap();
        graph
    }

    fn config(share: f64) -> FactorizeConfig {
        FactorizeConfig {
            target_latency: Some(Target::Share(share)),
            conv: Some(ConvSplit::Channel),
            ..FactorizeConfig::default()
        }
    }

    #[test]
    fn the_estimate_stays_within_the_target_and_a_smaller_one_leaves_less() {
        let graph = network();
        let mut before = usize::MAX;
        for share in [0.9, 0.7, 0.5] {
            let (ranks, note) = ranks(&graph, &config(share), None).unwrap();
            assert!(note.contains("by the estimate"), "{note}");
            let rank: usize = (1..=4).filter_map(|node| ranks.get(&node)).map(|(_, rank)| rank).sum();
            assert!(!ranks.is_empty() && (rank < before || ranks.len() > 1), "{ranks:?} at {share}");
            before = rank;
            let problem = Problem::new(&graph, &config(share), None).unwrap();
            let Solution::Plan(plan, price) = problem.solve(share * problem.whole()).unwrap() else {
                panic!()
            };
            assert!(price <= share * problem.whole());
            let split = problem.network(&plan).unwrap();
            assert_eq!(split.nodes().len(), graph.nodes().len() + ranks.len());
            let estimate = Pricing::new(&config(share), &graph).network(&split).unwrap();
            assert!((estimate / price - 1.0).abs() < 0.05, "{estimate} for {price}");
        }
        let error = ranks(&graph, &config(1e-4), None).unwrap_err().to_string();
        assert!(error.contains("cannot be reached") && error.contains("is the least"), "{error}");
    }
}
