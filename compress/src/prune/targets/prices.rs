//! What a network costs as a function of the channels that its groups keep.

use super::Target;
use super::config::Quantity;
use super::widths::NodeWidths;
use crate::targets::milliseconds;
use crate::techniques::Clock;
use lopper_engine::channels::ChannelFlow;
use lopper_engine::plan::Outline;
use lopper_engine::{Device, Graph, Layer, NodeId, Result};

/// Prices, item by item: a node, or an operation of a plan.
pub(super) struct Prices<'a> {
    widths: NodeWidths,
    kind: Kind<'a>,
    /// For each group, the items whose price depends on it.
    items_of: Vec<Vec<usize>>,
    items: usize,
}

enum Kind<'a> {
    /// Nodes, with the pixels of each output.
    Nodes { graph: &'a Graph, pixels: Vec<usize>, quantity: Quantity },
    /// Operations of a plan.
    Steps { outline: Outline, clock: Option<&'a dyn Clock> },
}

impl<'a> Prices<'a> {
    /// The prices of `graph` in the quantity of `target`, where the groups of `flow` at `groups` are cut.
    pub fn new(
        graph: &'a Graph,
        flow: &ChannelFlow,
        groups: &[usize],
        target: &Target,
        clock: Option<&'a dyn Clock>,
    ) -> Result<Self> {
        let (quantity, _) = target.aim()?;
        let [h, w, c] = graph.info.input;
        let shape = [target.batch(), h, w, c];
        let kind = match quantity {
            Quantity::Latency => {
                let device = clock.map_or_else(Device::cpu, |clock| clock.device().clone());
                Kind::Steps { outline: Outline::new(graph, shape, &device)?, clock }
            }
            Quantity::Macs | Quantity::Params | Quantity::Bytes => {
                let shapes = graph.shapes([1, h, w, c])?;
                let pixels = shapes.iter().map(|shape| shape.iter().rev().skip(1).product()).collect();
                Kind::Nodes { graph, pixels, quantity }
            }
        };
        let widths = NodeWidths::new(graph, flow, groups);
        let items = match &kind {
            Kind::Nodes { graph, .. } => graph.nodes().len(),
            Kind::Steps { outline, .. } => outline.len(),
        };
        let mut prices = Self { widths, kind, items_of: vec![Vec::new(); groups.len()], items };
        for item in 0..items {
            let mut groups: Vec<usize> =
                prices.nodes(item).into_iter().flat_map(|node| prices.widths.groups(node)).collect();
            groups.sort_unstable();
            groups.dedup();
            groups.into_iter().for_each(|group| prices.items_of[group].push(item));
        }
        Ok(prices)
    }

    /// The nodes whose widths the price of `item` depends on.
    fn nodes(&self, item: usize) -> Vec<NodeId> {
        match &self.kind {
            Kind::Nodes { graph, .. } => {
                graph.nodes()[item].inputs.first().copied().into_iter().chain([item]).collect()
            }
            Kind::Steps { outline, .. } => outline.nodes(item).into(),
        }
    }

    /// The price of an item if group g keeps `kept[g]` units.
    fn of_item(&self, item: usize, kept: &[usize]) -> f64 {
        match &self.kind {
            Kind::Steps { outline, clock } => {
                let amount = outline.amount(item, |node| self.widths.of(node, kept));
                milliseconds(&amount, *clock)
            }
            Kind::Nodes { graph, pixels, quantity } => {
                let node = &graph.nodes()[item];
                let input = node.inputs.first().map_or(0, |&input| self.widths.of(input, kept));
                let [params, buffers, macs] =
                    sizes(&node.layer, pixels[item], [input, self.widths.of(item, kept)]);
                let price = match quantity {
                    Quantity::Macs | Quantity::Latency => macs,
                    Quantity::Params => params,
                    Quantity::Bytes => 4 * (params + buffers),
                };
                price as f64
            }
        }
    }

    /// The price of the whole network.
    pub fn total(&self, kept: &[usize]) -> f64 {
        (0..self.items).map(|item| self.of_item(item, kept)).sum()
    }
}

impl crate::targets::Prices for Prices<'_> {
    fn total(&self, kept: &[usize]) -> f64 {
        Prices::total(self, kept)
    }

    fn around(&self, group: usize, kept: &[usize]) -> f64 {
        self.items_of[group].iter().map(|&item| self.of_item(item, kept)).sum()
    }
}

/// Parameters, running statistics and multiply-accumulates of `layer` on `pixels` pixels of output, with `c` input and `o`
/// output channels.
fn sizes(layer: &Layer, pixels: usize, [c, o]: [usize; 2]) -> [usize; 3] {
    match layer {
        Layer::Conv2d(conv) => {
            let [kh, kw] = conv.kernel();
            let read = if conv.is_depthwise() { 1 } else { c / conv.groups };
            let weights = o * kh * kw * read;
            [weights + conv.bias.as_ref().map_or(0, |_| o), 0, pixels * weights]
        }
        // Its channels are frozen.
        Layer::CompactConv2d(compact) => {
            let weights = compact.conv.weight.value().len();
            [weights + compact.conv.bias.as_ref().map_or(0, |bias| bias.value().len()), 0, pixels * weights]
        }
        Layer::Linear(linear) => [c * o + linear.bias.as_ref().map_or(0, |_| o), 0, c * o],
        Layer::BatchNorm(_) => [2 * o, 2 * o, 0],
        Layer::LayerNorm(_) | Layer::GroupNorm(_) => [2 * o, 0, 0],
        Layer::PRelu(_) => [o, 0, 0],
        Layer::Input { .. }
        | Layer::Activation(_)
        | Layer::Softmax { .. }
        | Layer::Pool(_)
        | Layer::Flatten
        | Layer::Dropout { .. }
        | Layer::Add
        | Layer::Multiply
        | Layer::Concat
        | Layer::Gather { .. }
        | Layer::Resize(_)
        | Layer::Dilate { .. }
        | Layer::PadShortcut { .. } => [0; 3],
    }
}
