//! Channel flow: the channels of a network that can only be removed together.
//!
//! Removing a filter removes a channel of its output, and with it everything tied to that channel:
//!
//! ```text
//!   conv1 ─ bn ─ relu ─┬─ conv2 ─ bn ─(+)─ flatten ─ linear        conv1[c], conv2[c], both bn[c] and the features
//!                      └───────────────┘                           (h·W + w)·C + c of the linear layer are one unit
//! ```
//!
//! Each output channel of each node refers to an *atom*. A layer either produces new atoms (convolution, linear) or
//! passes on those that it reads, in some order. Channels that must keep the same width are tied by union-find:
//!
//! | layer | its output channels | ties |
//! | --- | --- | --- |
//! | convolution, linear | new | none: inputs and outputs are cut independently |
//! | depthwise convolution, m filters per channel | new | output o with input o / m |
//! | grouped convolution | new | position j of every group, on both sides: groups keep the same width |
//! | group norm | those of its input | the channels of each group, whose statistics depend on all of them |
//! | batch norm, instance norm, layer norm, activation, PReLU, pooling, resizing, dropout | those of its input | |
//! | softmax | those of its input, frozen: a removed channel would no longer take its share of the sum | |
//! | flatten | those of its input, once for each pixel | |
//! | add, multiply (a gate, too) | those of its first input | with those of the other inputs |
//! | concat | those of its inputs, concatenated | |
//! | gather | those of its input in another order, perhaps only some, or some several times | |
//! | pad shortcut | new (zeros), those of its input, new (zeros) | |
//!
//! A set of tied atoms is a *unit*: it is removed as a whole or not at all. Units produced by the same layers form a
//! *group*. Units of the image, of the network's output, of softmaxes and of compact convolutions are frozen.

use super::filters::has_weight;
use crate::graph::layer::Conv2d;
use crate::{Error, Graph, Layer, NodeId, Result, memory};
use std::collections::{BTreeMap, HashMap};

/// The reason why a unit cannot be removed.
pub type Frozen = &'static str;

/// The flow of channels through a graph.
#[derive(Clone, Debug)]
pub struct ChannelFlow {
    units: Vec<Vec<usize>>,
    groups: Vec<Group>,
    count: usize,
}

/// Units that are produced by the same layers.
#[derive(Clone, Debug)]
pub struct Group {
    /// The convolutions and linear layers that produce these units, in graph order.
    pub layers: Vec<NodeId>,
    /// The units, by ascending channel.
    pub units: Vec<Unit>,
    /// The reason why the units cannot be removed, if they are frozen.
    pub frozen: Option<Frozen>,
}

impl Group {
    /// The names of the group's layers.
    pub fn layer_names(&self, graph: &Graph) -> Vec<String> {
        self.layers.iter().map(|&layer| graph.nodes()[layer].name.clone()).collect()
    }

    /// Whether each of its units has the same number of channels in each layer, so that the number of units that stay
    /// determines the widths. A grouped convolution may tie channels that reach it on different ways.
    pub fn is_uniform(&self, flow: &ChannelFlow) -> bool {
        self.layers.iter().all(|&layer| {
            let mut channels: HashMap<usize, usize> = HashMap::new();
            flow.units(layer).iter().for_each(|&unit| *channels.entry(unit).or_default() += 1);
            let mut counts = self.units.iter().map(|unit| channels.get(&unit.id));
            let first = counts.next();
            counts.all(|count| Some(count) == first)
        })
    }
}

/// A set of channels that are removed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit {
    /// The unit's first output channel in the first layer of its group.
    pub channel: usize,
    /// The unit's index among all units of the flow.
    pub id: usize,
}

impl ChannelFlow {
    /// Computes the flow of `graph`. Returns an error if the graph does not specify its image size (`info.input`, since
    /// flattening needs the height and width) or if its shapes do not fit.
    pub fn new(graph: &Graph) -> Result<Self> {
        Ok(Self::of(graph, &image_shapes(graph)?))
    }

    /// Computes the flow of `graph`, whose nodes have the output `shapes`.
    pub(crate) fn of(graph: &Graph, shapes: &[Vec<usize>]) -> Self {
        let mut atoms = Atoms::default();
        let mut channels: Vec<Vec<usize>> = Vec::with_capacity(graph.nodes().len());
        for (id, node) in graph.nodes().iter().enumerate() {
            let inputs: Vec<&[usize]> = node.inputs.iter().map(|&i| channels[i].as_slice()).collect();
            let width = *shapes[id].last().expect("a node's output has channels");
            let out = atoms.flow(&node.layer, &inputs, width);
            channels.push(out);
        }
        atoms.freeze(&channels[graph.output()], "the network's output");
        let (units, frozen) = atoms.units(channels);
        Self { groups: groups(graph, &units, &frozen), units, count: frozen.len() }
    }

    /// The unit of each output channel of `node`.
    pub fn units(&self, node: NodeId) -> &[usize] {
        &self.units[node]
    }

    /// Number of units, including frozen ones.
    pub fn unit_count(&self) -> usize {
        self.count
    }

    /// For each unit, the index of its group and its position there; none of units that no layer with weights makes.
    pub fn places(&self) -> Vec<Option<(usize, usize)>> {
        let mut places = vec![None; self.count];
        for (index, group) in self.groups.iter().enumerate() {
            group.units.iter().enumerate().for_each(|(place, unit)| places[unit.id] = Some((index, place)));
        }
        places
    }

    /// All groups, in graph order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The output channels of `node` whose unit is not in `removed` (indexed by unit), ascending.
    pub fn kept(&self, node: NodeId, removed: &[bool]) -> Vec<usize> {
        let units = self.units[node].iter().enumerate();
        units.filter(|&(_, &unit)| !removed[unit]).map(|(channel, _)| channel).collect()
    }
}

/// Whether channels end at `layer`, which then weights every channel that it reads and produces new ones, so that it
/// can absorb constant channels. This excludes depthwise convolutions, whose outputs are tied to their inputs.
pub fn ends_at(layer: &Layer) -> bool {
    match layer {
        Layer::Conv2d(conv) => !conv.is_depthwise(),
        Layer::CompactConv2d(_) | Layer::Linear(_) => true,
        Layer::Input { .. } | Layer::BatchNorm(_) | Layer::LayerNorm(_) | Layer::GroupNorm(_) => false,
        Layer::Activation(_) | Layer::PRelu(_) | Layer::Pool(_) | Layer::Flatten => false,
        Layer::Softmax { .. } | Layer::Dropout { .. } => false,
        Layer::Add | Layer::Multiply | Layer::Concat => false,
        Layer::Gather { .. } | Layer::Resize(_) | Layer::Dilate { .. } | Layer::PadShortcut { .. } => false,
    }
}

/// Whether each output channel of `layer` depends on all of its input channels, although they are tied one by one: layer
/// norm, whose statistics a channel takes part in.
pub(super) fn mixes(layer: &Layer) -> bool {
    matches!(layer, Layer::LayerNorm(_))
}

/// The shape of every node for one image of the graph's image size.
pub(super) fn image_shapes(graph: &Graph) -> Result<Vec<Vec<usize>>> {
    let [h, w, c] = graph.info.input;
    if [h, w, c].contains(&0) {
        return Err(Error::invalid(
            "the network does not specify its image size: set `info.input` to [H, W, C]",
        ));
    }
    let shapes = graph.shapes([1, h, w, c])?;
    require_channels(&shapes)?;
    Ok(shapes)
}

/// Checks that memory holds the analyses of a network whose nodes have the output `shapes`.
pub(super) fn require_channels(shapes: &[Vec<usize>]) -> Result<()> {
    // A flattened image has as many channels as values.
    let channels =
        shapes.iter().filter_map(|shape| shape.last()).map(|&c| c as u64).fold(0, u64::saturating_add);
    memory::require("the channels of the network", channels.saturating_mul(BYTES_A_CHANNEL))
}

/// Bytes per channel that the analyses of flow and constants need.
const BYTES_A_CHANNEL: u64 = 64;

/// Union-find over atoms.
#[derive(Default)]
struct Atoms {
    parent: Vec<usize>,
    frozen: Vec<(usize, Frozen)>,
}

impl Atoms {
    /// The `width` output atoms of `layer`, given the atoms of its inputs.
    fn flow(&mut self, layer: &Layer, inputs: &[&[usize]], width: usize) -> Vec<usize> {
        match layer {
            Layer::Input { .. } => self.fresh_frozen(width, "the image"),
            Layer::Conv2d(conv) => self.flow_conv(conv, inputs[0]),
            Layer::CompactConv2d(_) => {
                const WHY: Frozen = "a compact convolution holds their positions";
                self.freeze(inputs[0], WHY);
                self.fresh_frozen(width, WHY)
            }
            Layer::Linear(_) => self.fresh(width),
            Layer::BatchNorm(_) | Layer::LayerNorm(_) | Layer::Activation(_) | Layer::PRelu(_) => {
                inputs[0].to_vec()
            }
            Layer::Pool(_) | Layer::Resize(_) | Layer::Dilate { .. } | Layer::Dropout { .. } => {
                inputs[0].to_vec()
            }
            Layer::Softmax { .. } => {
                self.freeze(inputs[0], "a softmax is taken over all of them");
                inputs[0].to_vec()
            }
            Layer::GroupNorm(norm) => {
                for group in inputs[0].chunks(inputs[0].len() / norm.groups) {
                    group.iter().for_each(|&atom| self.tie(group[0], atom));
                }
                inputs[0].to_vec()
            }
            Layer::Gather { channels } => channels.iter().map(|&c| inputs[0][c as usize]).collect(),
            Layer::Flatten => inputs[0].repeat(width / inputs[0].len()),
            Layer::Add | Layer::Multiply => {
                for other in &inputs[1..] {
                    inputs[0].iter().zip(*other).for_each(|(&a, &b)| self.tie(a, b));
                }
                inputs[0].to_vec()
            }
            Layer::Concat => inputs.concat(),
            Layer::PadShortcut { before, after, .. } => {
                [&self.fresh(*before), inputs[0], &self.fresh(*after)].concat()
            }
        }
    }

    fn flow_conv(&mut self, conv: &Conv2d, input: &[usize]) -> Vec<usize> {
        let out = self.fresh(conv.out_channels());
        if conv.is_depthwise() {
            let multiplier = out.len() / input.len();
            out.iter().enumerate().for_each(|(o, &atom)| self.tie(atom, input[o / multiplier]));
        } else {
            for side in [input, &out] {
                let per_group = side.len() / conv.groups;
                side.iter().enumerate().for_each(|(i, &atom)| self.tie(atom, side[i % per_group]));
            }
        }
        out
    }

    fn fresh(&mut self, count: usize) -> Vec<usize> {
        let start = self.parent.len();
        self.parent.extend(start..start + count);
        (start..start + count).collect()
    }

    fn fresh_frozen(&mut self, count: usize, why: Frozen) -> Vec<usize> {
        let atoms = self.fresh(count);
        self.freeze(&atoms, why);
        atoms
    }

    fn freeze(&mut self, atoms: &[usize], why: Frozen) {
        self.frozen.extend(atoms.iter().map(|&atom| (atom, why)));
    }

    fn find(&mut self, mut atom: usize) -> usize {
        while self.parent[atom] != atom {
            self.parent[atom] = self.parent[self.parent[atom]];
            atom = self.parent[atom];
        }
        atom
    }

    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b)] = a.min(b);
    }

    /// Maps the atoms of every node to unit indices, and gives the reason for every frozen unit.
    fn units(mut self, mut channels: Vec<Vec<usize>>) -> (Vec<Vec<usize>>, Vec<Option<Frozen>>) {
        let mut numbers = BTreeMap::new();
        for atom in channels.iter_mut().flatten() {
            let next = numbers.len();
            *atom = *numbers.entry(self.find(*atom)).or_insert(next);
        }
        let mut frozen = vec![None; numbers.len()];
        for (atom, why) in std::mem::take(&mut self.frozen) {
            frozen[numbers[&self.find(atom)]].get_or_insert(why);
        }
        (channels, frozen)
    }
}

/// The units that layers produce, grouped by these layers.
fn groups(graph: &Graph, units: &[Vec<usize>], frozen: &[Option<Frozen>]) -> Vec<Group> {
    let mut makers: Vec<Vec<NodeId>> = vec![Vec::new(); frozen.len()];
    let mut first_channel = vec![0; frozen.len()];
    for (id, node) in graph.nodes().iter().enumerate() {
        if !has_weight(&node.layer) {
            continue;
        }
        for (channel, &unit) in units[id].iter().enumerate() {
            if makers[unit].is_empty() {
                first_channel[unit] = channel;
            }
            if makers[unit].last() != Some(&id) {
                makers[unit].push(id);
            }
        }
    }
    let mut groups: BTreeMap<(Vec<NodeId>, Option<Frozen>), Vec<Unit>> = BTreeMap::new();
    for (id, layers) in makers.into_iter().enumerate().filter(|(_, layers)| !layers.is_empty()) {
        let unit = Unit { channel: first_channel[id], id };
        groups.entry((layers, frozen[id])).or_default().push(unit);
    }
    let sorted = |((layers, frozen), mut units): (_, Vec<Unit>)| {
        units.sort_unstable();
        Group { layers, units, frozen }
    };
    groups.into_iter().map(sorted).collect()
}
