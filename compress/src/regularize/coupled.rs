//! A penalty on coupled channels: everything that pruning would remove together is pulled together.
//!
//! ```text
//!   conv1 [O, K, K, C] ─ bn [O] ─ relu ─ conv2 [P, K, K, O]       unit o: conv1[o], γ[o], conv2[.., o]
//! ```

use crate::lists::Lists;
use lopper_engine::channels::{ChannelFlow, Filters, Group, is_depthwise};
use lopper_engine::{Graph, Layer, Node, ParamGradients, Result};

/// The coupled channels of a network, found once for a training.
#[derive(Debug)]
pub(super) struct Coupled {
    flow: ChannelFlow,
    /// For each unit, the group that it is compared in; none if it is frozen or skipped.
    groups: Vec<Option<usize>>,
}

impl Coupled {
    /// The units of `graph` that can be removed and that `lists` do not skip.
    pub fn of(graph: &Graph, lists: &Lists) -> Result<Self> {
        let flow = ChannelFlow::new(graph)?;
        let mut groups = vec![None; flow.unit_count()];
        for (index, group) in flow.groups().iter().enumerate() {
            if eligible(group, graph, lists) {
                group.units.iter().for_each(|unit| groups[unit.id] = Some(index));
            }
        }
        Ok(Self { flow, groups })
    }

    /// Whether there is nothing to penalize.
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(Option::is_none)
    }

    /// γ of each unit: `2^(alpha (max I − I) / (max I − min I))` with the norm I of all its weights, among the units of its
    /// group; 1 if all norms are equal, 0 for a unit that is not penalized.
    pub fn pulls(&self, graph: &Graph, alpha: f64) -> Result<Vec<f64>> {
        let mut squares = vec![0.0; self.groups.len()];
        for node in 0..graph.nodes().len() {
            let Some(values) = values(&graph.nodes()[node]) else { continue };
            values.fetch()?;
            let data = values.data();
            self.for_each(graph, node, |i, unit| squares[unit] += f64::from(data[i]).powi(2));
        }
        let norms: Vec<f64> = squares.into_iter().map(f64::sqrt).collect();
        let mut ranges = vec![(f64::INFINITY, f64::NEG_INFINITY); self.flow.groups().len()];
        for (norm, group) in norms.iter().zip(&self.groups) {
            if let Some(group) = group {
                let (low, high) = ranges[*group];
                ranges[*group] = (low.min(*norm), high.max(*norm));
            }
        }
        let pull = |(norm, group): (&f64, &Option<usize>)| match group.map(|group| ranges[group]) {
            None => 0.0,
            Some((low, high)) if high > low => (alpha * (high - norm) / (high - low)).exp2(),
            Some(_) => 1.0,
        };
        Ok(norms.iter().zip(&self.groups).map(pull).collect())
    }

    /// Adds `weight · γ_u · w` to the gradient of each weight w of each unit u.
    pub fn penalize(
        &self,
        graph: &Graph,
        gradients: &mut ParamGradients,
        [weight, alpha]: [f64; 2],
    ) -> Result<()> {
        let pulls = self.pulls(graph, alpha)?;
        for (node, of) in graph.nodes().iter().enumerate() {
            let Some(values) = values(of) else { continue };
            // A frozen weight has no gradient.
            let Some(gradient) = gradients.get_mut(&format!("{}.weight", of.name)) else { continue };
            gradient.fetch()?;
            let (data, gradient) = (values.data(), gradient.data_mut());
            let mut slopes = vec![0.0; data.len()];
            self.for_each(graph, node, |i, unit| slopes[i] += pulls[unit] * f64::from(data[i]));
            gradient.iter_mut().zip(slopes).for_each(|(g, slope)| *g += (weight * slope) as f32);
        }
        Ok(())
    }

    /// Calls `f(i, unit)` for each weight i of `node` and each unit that it belongs to: that of its output channel, and that
    /// of the channel that it reads. In a depthwise convolution both are one.
    fn for_each(&self, graph: &Graph, node: usize, mut f: impl FnMut(usize, usize)) {
        let Node { layer, inputs, .. } = &graph.nodes()[node];
        let outputs = self.flow.units(node);
        let Some(filters) = Filters::of(layer) else {
            outputs.iter().enumerate().for_each(|(channel, &unit)| f(channel, unit));
            return;
        };
        let read = inputs.first().filter(|_| !is_depthwise(layer)).map(|&input| self.flow.units(input));
        let depth = filters.depth().max(1);
        for (o, &unit) in outputs.iter().enumerate() {
            let (size, first) = (filters.filter(o).len(), filters.first_input(o));
            for i in 0..size {
                f(o * size + i, unit);
                if let Some(read) = read {
                    f(o * size + i, read[first + i % depth]);
                }
            }
        }
    }
}

/// The weight of a convolution or linear layer, or γ of a norm.
fn values(node: &Node) -> Option<&lopper_engine::Tensor> {
    match &node.layer {
        Layer::BatchNorm(bn) => Some(bn.weight.value()),
        Layer::LayerNorm(norm) => Some(norm.weight.value()),
        Layer::GroupNorm(norm) => Some(norm.weight.value()),
        layer => Filters::of(layer).map(|filters| filters.weight.value()),
    }
}

/// Whether `group` can be removed, and `lists` skip none of its layers and name one of them.
fn eligible(group: &Group, graph: &Graph, lists: &Lists) -> bool {
    let names = group.layer_names(graph);
    let included = lists.include.is_empty() || names.iter().any(|name| lists.includes(name));
    group.frozen.is_none() && included && !names.iter().any(|name| lists.excludes(name))
}
