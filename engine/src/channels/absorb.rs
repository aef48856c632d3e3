//! Absorption of constants, which makes the removal of a constant nonzero channel exact.
//!
//! Constant channels i with values c_i contribute `Σ_i c_i·w[o, t, i]` to a layer that reads them, at each tap t.
//!
//! ```text
//!   no padding   b'[o] = b[o] + Σ_t Σ_i c_i·w[o, t, i]            or, right before a batch norm, μ' = μ − that
//!   padding      w'[o, t, k] = w[o, t, k] + Σ_i (c_i / c_k)·w[o, t, i]
//! ```
//!
//! At a padded border the taps outside the image read zero instead of c_i, which no bias can reproduce. Another
//! constant channel k reads zero there too. So one dead channel, the *carrier*, stays and carries the effect of all
//! others, border included. The strongest one is chosen: c_i / c_k ≤ 1 loses no precision.
//!
//! A layer norm goes on counting the constants in its statistics: it remembers Σ c_i and Σ c_i².

use super::constants::Constant;
use super::filters::{Filters, filters_mut, overwrite, set_bias};
use super::flow::{ChannelFlow, mixes};
use super::state::readers;
use crate::memory::bytes_of;
use crate::{Graph, Layer, NodeId};

/// A channel can be the carrier of a layer if its constant is at least this fraction of the strongest.
const CARRIES: f32 = 1e-3;

/// Chooses the units that stay as carriers, and clears `removed` for them. `known` are the constants of every node. A
/// carrier stays for all layers, so all carriers are chosen before anything is absorbed.
pub(super) fn choose_carriers(
    graph: &Graph,
    flow: &ChannelFlow,
    known: &[Vec<Constant>],
    removed: &mut [bool],
) -> Vec<usize> {
    let mut carriers = Vec::new();
    for reader in readers(graph) {
        let Some(read) = Read::of(graph, reader, flow, known) else { continue };
        for group in 0..if read.filters.padded { read.filters.groups } else { 0 } {
            let carrier = read.missing_carrier(group, removed);
            carrier.into_iter().for_each(|unit| removed[unit] = false);
            carriers.extend(carrier);
        }
    }
    carriers
}

/// Bytes of the weights that [`absorb`] rewrites: at most those of all padded layers that read `removed` channels.
pub(super) fn bytes(graph: &Graph, flow: &ChannelFlow, known: &[Vec<Constant>], removed: &[bool]) -> u64 {
    let of = |reader: NodeId| {
        let read = Read::of(graph, reader, flow, known).filter(|read| read.filters.padded)?;
        let reads = read.units.iter().any(|&unit| removed[unit]);
        reads.then(|| bytes_of::<f32>([read.filters.weight.value().len(), 2]))
    };
    readers(graph).filter_map(of).fold(0, u64::saturating_add)
}

/// Rewrites every layer that reads channels of `removed` units, which are constant there, so that it no longer depends
/// on them. `known` are the constants of every node. Returns where the constants went, by the layer that read them.
pub(super) fn absorb(
    graph: &mut Graph,
    flow: &ChannelFlow,
    known: &[Vec<Constant>],
    removed: &[bool],
) -> Vec<(NodeId, &'static str)> {
    let mut notes = Vec::new();
    for reader in readers(graph).collect::<Vec<_>>() {
        let Some(read) = Read::of(graph, reader, flow, known) else { continue };
        let Some(responses) = read.responses(removed) else { continue };
        if read.filters.padded {
            let weights = read.carried(&responses, removed);
            if let Some((weight, _)) = filters_mut(graph.layer_mut(reader)) {
                overwrite(weight, weights);
            }
            notes.push((reader, "constants go through a carrier"));
        } else {
            let delta: Vec<f64> = responses.iter().map(|taps| taps.iter().sum()).collect();
            notes.push((reader, shift(graph, reader, &delta)));
        }
    }
    for (id, constants) in constants_of_norms(graph, flow, known, removed) {
        if let Layer::LayerNorm(norm) = graph.layer_mut(id) {
            norm.remember(constants);
        }
    }
    notes
}

/// For each layer norm, the constants among its inputs that are `removed`.
fn constants_of_norms(
    graph: &Graph,
    flow: &ChannelFlow,
    known: &[Vec<Constant>],
    removed: &[bool],
) -> Vec<(NodeId, Vec<f32>)> {
    let norms = graph.nodes().iter().enumerate().filter(|(_, node)| mixes(&node.layer));
    let constants = |input: NodeId| {
        let channels = flow.units(input).iter().zip(&known[input]);
        channels.filter(|(unit, _)| removed[**unit]).filter_map(|(_, value)| *value).collect()
    };
    norms.map(|(id, node)| (id, constants(node.inputs[0]))).collect()
}

/// A layer and the channels that it reads.
struct Read<'a> {
    filters: Filters<'a>,
    units: &'a [usize],
    known: &'a [Constant],
}

impl<'a> Read<'a> {
    fn of(graph: &'a Graph, id: NodeId, flow: &'a ChannelFlow, known: &'a [Vec<Constant>]) -> Option<Self> {
        let node = &graph.nodes()[id];
        let input = node.inputs[0];
        Some(Self { filters: Filters::of(&node.layer)?, units: flow.units(input), known: &known[input] })
    }

    /// The contribution of removed channels at each tap of each filter. None if there is none.
    fn responses(&self, removed: &[bool]) -> Option<Vec<Vec<f64>>> {
        let dropped = |(&unit, value): (&usize, &Constant)| match value {
            Some(value) if removed[unit] => f64::from(*value),
            _ => 0.0,
        };
        let dropped: Vec<f64> = self.units.iter().zip(self.known).map(dropped).collect();
        let any = dropped.iter().any(|&c| c != 0.0);
        any.then(|| (0..self.filters.outputs()).map(|o| self.filters.response(o, &dropped)).collect())
    }

    /// The `wanted` channel with the strongest constant among those that the filters of `group` read, and the constant.
    fn strongest(&self, group: usize, wanted: impl Fn(usize) -> bool) -> Option<(usize, f32)> {
        let channels = group * self.filters.depth()..(group + 1) * self.filters.depth();
        let constant = |channel: usize| Some((channel, self.known[channel].filter(|&c| c != 0.0)?));
        let wanted = channels.filter(|&channel| wanted(channel));
        wanted.filter_map(constant).max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
    }

    /// The unit that must stay to carry the constants of `group`. None if there are no constants, or a kept channel can
    /// carry them.
    fn missing_carrier(&self, group: usize, removed: &[bool]) -> Option<usize> {
        let gone = |channel: usize| removed[self.units[channel]] && self.weighs(group, channel);
        let (channel, value) = self.strongest(group, gone)?;
        let carried = self.strongest(group, |channel| !removed[self.units[channel]]);
        let enough = carried.is_some_and(|(_, carrier)| carrier.abs() >= CARRIES * value.abs());
        (!enough).then(|| self.units[channel])
    }

    /// Whether a filter of `group` has a nonzero weight for `channel`.
    fn weighs(&self, group: usize, channel: usize) -> bool {
        let (filters, depth) = (self.filters.outputs() / self.filters.groups, self.filters.depth());
        let weights = |o: usize| self.filters.filter(o).iter().skip(channel % depth).step_by(depth);
        (group * filters..(group + 1) * filters).any(|o| weights(o).any(|&w| w != 0.0))
    }

    /// The weights with `responses` on the carriers.
    fn carried(&self, responses: &[Vec<f64>], removed: &[bool]) -> Vec<f32> {
        let mut weights = self.filters.weight.value().data().to_vec();
        let (outputs, depth) = (self.filters.outputs(), self.filters.depth());
        let size = weights.len() / outputs;
        for (o, (filter, taps)) in weights.chunks_exact_mut(size).zip(responses).enumerate() {
            let group = o / (outputs / self.filters.groups);
            // A group that reads no constants needs no carrier.
            let stays = |channel: usize| !removed[self.units[channel]];
            let Some((carrier, value)) = self.strongest(group, stays) else { continue };
            for (weights, tap) in filter.chunks_exact_mut(depth).zip(taps) {
                let weight = &mut weights[carrier - group * depth];
                *weight = (f64::from(*weight) + tap / f64::from(value)) as f32;
            }
        }
        weights
    }
}

/// Adds `delta` to the output of `node`: to its bias, or, if it has none and a batch norm is its only reader, to the
/// mean of that batch norm, which adds no parameter.
fn shift(graph: &mut Graph, node: NodeId, delta: &[f64]) -> &'static str {
    let filters = Filters::of(&graph.nodes()[node].layer).expect("a layer that was read as filters");
    let (biases, has_bias) = (filters.biases(), filters.bias.is_some());
    let readers = graph.readers();
    if let (false, &[reader]) = (has_bias, readers[node].as_slice())
        && let Layer::BatchNorm(bn) = graph.layer_mut(reader)
    {
        let means = bn.running_mean.data_mut().iter_mut().zip(delta);
        means.for_each(|(mean, d)| *mean = (f64::from(*mean) - d) as f32);
        return "constants go into the mean of the batch norm behind it";
    }
    let biases: Vec<f64> = biases.iter().zip(delta).map(|(b, d)| b + d).collect();
    set_bias(graph, node, &biases);
    "constants go into its bias"
}
