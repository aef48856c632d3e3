//! The choice of patterns as a knapsack.

use super::config::SparsityTarget;
use super::layer::{Division, Layer};
use super::offers::{Choice, Pick, offer};
use super::prices::{NetworkPrices, Price};
use crate::criteria::Evidence;
use crate::sparsify::SparsifyConfig;
use crate::sparsify::drop::{drop_groups, mask_of};
use crate::sparsify::layers::{weight, weight_mut};
use crate::targets::{Choices, Item, Offer, Solution, choose, milliseconds, whole};
use lopper_engine::channels::has_weight;
use lopper_engine::files::forms::Storage;
use lopper_engine::plan::Outline;
use lopper_engine::{Device, Error, Graph, NodeId, Result, Tensor};

/// The bytes that a sparse form has to save in a file.
const HEADER: usize = 512;

/// The knapsack of a network.
pub(super) struct Problem<'a> {
    graph: &'a Graph,
    latency: bool,
    layers: Vec<Layer>,
    menus: Vec<Menu>,
    items: Vec<Item>,
    prices: NetworkPrices,
}

/// What can become of an operation.
struct Menu {
    /// Its layer among those that are sparsified.
    layer: Option<usize>,
    offer: Offer<Choice>,
}

/// A layer and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picked {
    pub layer: String,
    pub node: NodeId,
    pub pick: Pick,
}

impl<'a> Problem<'a> {
    /// The knapsack of `graph` for `target`. `config` has the granularity of single weights.
    pub fn new(
        graph: &'a Graph,
        config: &SparsifyConfig,
        target: &SparsityTarget,
        evidence: Option<&Evidence>,
    ) -> Result<Self> {
        let layers = Layer::all(graph, config, evidence)?;
        let (menus, images, others) = match target.latency {
            Some(_) => of_latency(graph, config, target, &layers)?,
            None => of_bytes(graph, target, &layers)?,
        };
        let prices = menus
            .iter()
            .map(|menu| menu.offer.choices.iter().map(|(_, price)| *price).collect::<Vec<Price>>());
        let prices = NetworkPrices::new(images.into_iter().zip(prices).collect(), others);
        let items = menus.iter().map(|menu| menu.offer.item()).collect();
        Ok(Self { graph, latency: target.latency.is_some(), layers, menus, items, prices })
    }

    /// What becomes of each layer by `plan`; layers that stay as they are do not occur.
    pub fn picked(&self, plan: &[usize]) -> Vec<Picked> {
        let picked = |(menu, &chosen): (&Menu, &usize)| {
            let node = self.layers[menu.layer?].node;
            let pick = menu.offer.choices[chosen].0?;
            Some(Picked { layer: self.graph.nodes()[node].name.clone(), node, pick })
        };
        self.menus.iter().zip(plan).filter_map(picked).collect()
    }

    /// The estimated amount of an estimated `price`, in words.
    fn show(&self, amount: f64) -> String {
        match self.latency {
            true => format!("{amount:.3} ms"),
            false => format!("{:.3} MB", amount / 1e6),
        }
    }
}

impl Choices for Problem<'_> {
    type Plan = Vec<usize>;

    fn solve(&self, budget: f64) -> Result<Solution<Vec<usize>>> {
        Ok(choose(&self.items, &self.prices, budget))
    }

    fn whole(&self) -> f64 {
        whole(&self.items, &self.prices)
    }

    fn network(&self, plan: &Vec<usize>) -> Result<Graph> {
        let mut graph = self.graph.clone();
        for (menu, &chosen) in self.menus.iter().zip(plan) {
            let (Some(layer), Some(pick)) = (menu.layer, menu.offer.choices[chosen].0) else { continue };
            let layer = &self.layers[layer];
            if let Some(division) = layer.divided(self.graph, pick.granularity) {
                let dropped = division.dropped(pick.sparsity);
                drop_groups(weight_mut(&mut graph, layer.node), &division.groups, &dropped)?;
            }
        }
        Ok(graph)
    }

    fn impossible(&self, goal: f64, least: f64) -> Error {
        let (what, [goal, least]) =
            (if self.latency { "latency" } else { "bytes" }, [goal, least].map(|amount| self.show(amount)));
        Error::invalid(format!(
            "sparsify target {what}: {goal} cannot be reached: {least} is the least, where every layer has as many zeros as \
             are compared (98 %, or those of N:M); raise the target, or include more layers, or prune channels first"
        ))
    }
}

/// Menus with the images that their operations have, and the price of everything else.
type Menus = (Vec<Menu>, Vec<[Option<usize>; 2]>, f64);

/// The menus of the operations of a plan that have choices or share images with such ones.
fn of_latency(
    graph: &Graph,
    config: &SparsifyConfig,
    target: &SparsityTarget,
    layers: &[Layer],
) -> Result<Menus> {
    let clock = config.clock.clock();
    let device = clock.map_or_else(Device::cpu, |clock| clock.device().clone());
    let [h, w, c] = graph.info.input;
    let input = [target.batch(), h, w, c];
    let (outline, shapes) = (Outline::new(graph, input, &device)?, graph.shapes(input)?);
    let width = |node: NodeId| shapes[node].last().copied().unwrap_or(1);
    let granularities = target.choices();
    let (mut menus, mut images, mut others) = (Vec::new(), Vec::new(), 0.0);
    for step in 0..outline.len() {
        let (node, ends) = (outline.nodes(step)[1], outline.lane_images(step));
        let priced = |mask: &Tensor| -> Result<Price> { Ok(Price::of(&outline.masked(step, mask)?, clock)) };
        let masked = graph.nodes()[node].layer.params().first().is_some_and(|(_, p)| p.mask().is_some());
        let dense = Price::fixed(milliseconds(&outline.amount(step, width), clock));
        let skips = masked && has_weight(&graph.nodes()[node].layer);
        let whole = if skips { priced(&mask_of(weight(graph, node)))? } else { dense };
        let offer = match layers.iter().position(|layer| layer.node == node) {
            Some(at) => {
                let price = |division: &Division, dropped: &[bool]| {
                    priced(&layers[at].mask(graph, division, dropped))
                };
                let offer = offer(graph, &layers[at], &granularities, whole, &price)?;
                menus.push(Menu { layer: Some(at), offer });
                images.push(ends);
                continue;
            }
            None if ends == [None; 2] => {
                others += whole.least();
                continue;
            }
            None => Offer::new(Vec::new(), ((None, whole), whole.least())),
        };
        menus.push(Menu { layer: None, offer });
        images.push(ends);
    }
    Ok((menus, images, others))
}

/// The menus of the layers of a file.
fn of_bytes(graph: &Graph, target: &SparsityTarget, layers: &[Layer]) -> Result<Menus> {
    let stored = |[n, live]: [usize; 2], masked: bool| {
        let sparse = n.div_ceil(8) + 4 * live;
        let dense = 4 * n + if masked { n.div_ceil(8) } else { 0 };
        Price::fixed(if masked && sparse + HEADER < 4 * n { sparse } else { dense } as f64)
    };
    let (mut menus, mut others) = (Vec::new(), bytes(graph));
    for (at, layer) in layers.iter().enumerate() {
        let whole = stored(layer.counts(), weight(graph, layer.node).mask().is_some());
        others -= whole.least();
        let price = |division: &Division, dropped: &[bool]| {
            let mask = layer.mask(graph, division, dropped);
            let live = mask.data().iter().filter(|&&live| live != 0.0).count();
            Ok(stored([mask.len(), live], true))
        };
        menus.push(Menu { layer: Some(at), offer: offer(graph, layer, &target.choices(), whole, &price)? });
    }
    let images = vec![[None; 2]; menus.len()];
    Ok((menus, images, others))
}

/// The bytes of the parameters and running statistics of `graph` in a file.
pub(super) fn bytes(graph: &Graph) -> f64 {
    let buffers: u64 = graph.buffers().map(|(_, buffer)| 4 * buffer.len() as u64).sum();
    (Storage::of(graph).bytes + buffers) as f64
}
