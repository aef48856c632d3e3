//! Lowers the graph to a list of operations, each one kernel call.
//!
//! - Dropout and flatten compute nothing: nodes that read them read their input instead.
//! - An activation or a sum of two becomes the epilogue of the convolution, linear layer or batch norm that it reads, if that
//!   has no other reader. The fused operation runs in place of the *last* of its nodes, so everything that it reads is
//!   ready by then.
//! - An adaptive average pool that enlarges its map is folded into the weight of the linear layer after it, if that is
//!   its only reader: both are linear, and the weight becomes smaller. (VGG16 at 128 px averages 4×4 maps into 7×7, and
//!   its first linear layer then reads a third of the bytes.)
//! - A gathering of gathered channels reads the first one's input. (A shuffle whose halves are read apart is never
//!   computed as a whole.)
//! - Nodes that the output does not depend on are omitted.

use crate::graph::pool::{Pool, PoolKind};
use crate::{Graph, Layer, Node, NodeId, Result};
use lopper_kernels::params::Activation;

/// Value of the run: 0 stands for the images, `v` for the output of operation `v`.
pub(super) type Value = usize;

/// Value of the images.
pub(super) const IMAGES: Value = 0;

/// Maximum number of parts of one concatenation: the list of parts has to fit on the stack.
pub(super) const MAX_PARTS: usize = 16;

/// One kernel call.
#[derive(Debug)]
pub(super) struct Op<'g> {
    /// Node that it computes.
    pub node: &'g Node,
    /// Id of that node.
    pub id: NodeId,
    /// Shape of its first input, as the node sees it.
    pub x: Vec<usize>,
    /// Size of the adaptive average pool that is folded into a linear layer's weight.
    pub pool: Option<[usize; 2]>,
    /// The channels of its input that a gathering of gathered channels reads.
    pub channels: Option<Vec<u32>>,
    /// Values that it reads.
    pub inputs: Vec<Value>,
    /// Value added before the activation.
    pub residual: Option<Value>,
    /// Activation, applied last.
    pub activation: Activation,
    /// Nodes that are computed with it: a pool before it, its epilogue.
    pub fused: Vec<&'g Node>,
    /// Value that it writes.
    pub output: Value,
    /// Shape of that value.
    pub shape: Vec<usize>,
}

impl Op<'_> {
    /// Returns whether its kernel can still add a residual.
    fn takes_residual(&self) -> bool {
        self.residual.is_none() && self.takes_activation()
    }

    /// Returns whether its kernel can still apply an activation.
    fn takes_activation(&self) -> bool {
        let layer = &self.node.layer;
        let epilogue = matches!(
            layer,
            Layer::Conv2d(_) | Layer::CompactConv2d(_) | Layer::Linear(_) | Layer::BatchNorm(_)
        );
        epilogue && self.activation == Activation::None
    }

    /// Returns the number of floats that it writes.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Returns the operations of `graph` on images of shape `input`, in a valid order of execution; the last one writes the
/// network's output.
pub(super) fn lower(graph: &Graph, input: [usize; 4]) -> Result<Vec<Op<'_>>> {
    let shapes = graph.shapes(input)?;
    let source = sources(graph);
    let reads = graph.reads(&[], |id| source[id]);
    let mut lowering =
        Lowering { graph, shapes, source, reads, value: vec![IMAGES; graph.nodes().len()], ops: vec![None] };
    for id in 1..graph.nodes().len() {
        if lowering.source[id] == id && lowering.reads[id] > 0 {
            lowering.node(id);
        }
    }
    let output = graph.output();
    if lowering.source[output] == 0 {
        // The network computes nothing: its output is a copy of the images.
        let copy = lowering.op(output, vec![IMAGES]);
        lowering.push(copy);
    }
    Ok(lowering.ops.into_iter().flatten().collect())
}

/// Returns, for every node, the node whose output it passes on: itself, unless it computes nothing.
fn sources(graph: &Graph) -> Vec<NodeId> {
    let mut source: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.nodes().iter().enumerate() {
        let nothing = matches!(node.layer, Layer::Flatten | Layer::Dropout { .. });
        source.push(if nothing { source[node.inputs[0]] } else { id });
    }
    source
}

struct Lowering<'g> {
    graph: &'g Graph,
    shapes: Vec<Vec<usize>>,
    source: Vec<NodeId>,
    reads: Vec<usize>,
    /// Value of each source.
    value: Vec<Value>,
    /// Operation that writes each value. An operation that was fused has moved to the end.
    ops: Vec<Option<Op<'g>>>,
}

impl<'g> Lowering<'g> {
    fn node(&mut self, id: NodeId) {
        let node = &self.graph.nodes()[id];
        let inputs: Vec<NodeId> = node.inputs.iter().map(|&i| self.source[i]).collect();
        let fused = match node.layer {
            Layer::Activation(activation) => self.with_activation(node, inputs[0], activation),
            Layer::Add if inputs.len() == 2 => self.with_residual(node, &inputs),
            Layer::Linear(_) => self.with_pool(id, inputs[0]),
            Layer::Gather { ref channels } => self.of_gathered(id, inputs[0], channels),
            _ => None,
        };
        let mut values: Vec<Value> = inputs.iter().map(|&i| self.value[i]).collect();
        if matches!(node.layer, Layer::Concat) && fused.is_none() {
            values = self.join_long_lists(id, values);
        }
        let op = fused.unwrap_or_else(|| self.op(id, values));
        self.value[id] = self.push(op);
    }

    fn op(&self, id: NodeId, inputs: Vec<Value>) -> Op<'g> {
        let node = &self.graph.nodes()[id];
        let x = node.inputs.first().map_or(&self.shapes[id], |&x| &self.shapes[x]).clone();
        let shape = self.shapes[id].clone();
        let (residual, activation, fused, output) = (None, Activation::None, Vec::new(), IMAGES);
        Op { node, id, x, pool: None, channels: None, inputs, residual, activation, fused, output, shape }
    }

    fn push(&mut self, mut op: Op<'g>) -> Value {
        op.output = self.ops.len();
        self.ops.push(Some(op));
        self.ops.len() - 1
    }

    /// Takes back the operation of `source` if nothing else reads it and `fits` accepts it.
    fn take_back(&mut self, source: NodeId, fits: impl Fn(&Op<'g>) -> bool) -> Option<Op<'g>> {
        let op = &mut self.ops[self.value[source]];
        if self.reads[source] == 1 && op.as_ref().is_some_and(fits) { op.take() } else { None }
    }

    fn with_activation(&mut self, node: &'g Node, x: NodeId, activation: Activation) -> Option<Op<'g>> {
        let mut op = self.take_back(x, Op::takes_activation)?;
        op.activation = activation;
        op.fused.push(node);
        Some(op)
    }

    /// Returns a linear layer whose weight includes the pool before it, if that pool does not shrink its map.
    fn with_pool(&mut self, id: NodeId, x: NodeId) -> Option<Op<'g>> {
        let Layer::Pool(pool @ Pool { kind: PoolKind::Average, .. }) = self.graph.nodes()[x].layer else {
            return None;
        };
        let size = pool.output_size()?;
        let pool = self.take_back(x, |op| op.x[1] * op.x[2] <= size.iter().product())?;
        let linear = self.op(id, pool.inputs);
        Some(Op { x: pool.x, pool: Some(size), fused: vec![pool.node], ..linear })
    }

    /// Returns a gathering of `channels` of the value before the gathering `source`, which is dropped if nothing else reads
    /// it.
    fn of_gathered(&mut self, id: NodeId, source: NodeId, channels: &[u32]) -> Option<Op<'g>> {
        let before = &self.graph.nodes()[source];
        let Layer::Gather { channels: own } = &before.layer else { return None };
        let first = self.ops[self.value[source]].as_ref()?;
        let from = first.channels.as_deref().unwrap_or(own);
        let channels = channels.iter().map(|&channel| from[channel as usize]).collect();
        let (x, inputs, input) = (first.x.clone(), first.inputs.clone(), self.source[before.inputs[0]]);
        self.reads[source] -= 1;
        let mut fused = Vec::new();
        if self.reads[source] > 0 {
            self.reads[input] += 1;
        } else if let Some(dropped) = self.ops[self.value[source]].take() {
            fused = dropped.fused;
            fused.push(before);
        }
        Some(Op { x, channels: Some(channels), fused, ..self.op(id, inputs) })
    }

    /// Fuses a sum into one of its addends, preferably the later one, which delays the least work.
    fn with_residual(&mut self, node: &'g Node, addends: &[NodeId]) -> Option<Op<'g>> {
        let (early, late) = (addends[0].min(addends[1]), addends[0].max(addends[1]));
        for (x, other) in [(late, early), (early, late)] {
            if let Some(mut op) = self.take_back(x, Op::takes_residual) {
                op.residual = Some(self.value[other]);
                op.fused.push(node);
                return Some(op);
            }
        }
        None
    }

    /// Joins neighboring parts of a concatenation until few enough remain: a tree, which copies every value once per
    /// level.
    fn join_long_lists(&mut self, id: NodeId, mut parts: Vec<Value>) -> Vec<Value> {
        while parts.len() > MAX_PARTS {
            parts = parts.chunks(MAX_PARTS).map(|parts| self.join(id, parts)).collect();
        }
        parts
    }

    /// Returns a value that holds `parts` of the concatenation `id` side by side.
    fn join(&mut self, id: NodeId, parts: &[Value]) -> Value {
        if let &[part] = parts {
            return part;
        }
        let mut op = self.op(id, parts.to_vec());
        let rows: usize = op.shape.iter().rev().skip(1).product();
        let len: usize = parts.iter().map(|&v| self.len(v)).sum();
        op.shape = vec![rows, len / rows];
        self.push(op)
    }

    /// Returns the number of floats of a value.
    fn len(&self, value: Value) -> usize {
        self.ops[value].as_ref().map_or_else(|| self.shapes[0].iter().product(), Op::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::layer::{Conv2d, Linear};
    use crate::{Param, Tensor};

    fn conv(c: usize) -> Layer {
        let weight = Param::new(Tensor::zeros(&[c, 1, 1, c]));
        let (stride, padding, dilation) = ([1; 2], [0; 2], [1; 2]);
        Layer::Conv2d(Conv2d {
            weight,
            bias: None,
            stride,
            padding,
            extra_padding: [0; 2],
            dilation,
            groups: 1,
        })
    }

    /// Formats each operation as `node+fused(inputs|residual)->output`.
    fn listing(graph: &Graph) -> Vec<String> {
        let show = |op: &Op| {
            let names: Vec<&str> =
                std::iter::once(op.node).chain(op.fused.iter().copied()).map(|n| n.name.as_str()).collect();
            let residual = op.residual.map_or(String::new(), |r| format!("|{r}"));
            format!("{}({:?}{residual})->{}", names.join("+"), op.inputs, op.output)
        };
        lower(graph, [1, 2, 2, 2]).unwrap().iter().map(show).collect()
    }

    #[test]
    fn a_residual_block_is_two_convolutions() {
        let mut g = Graph::new(2);
        let a = g.push("a", conv(2), &[0]).unwrap();
        let relu = g.push("relu", Layer::Activation(Activation::Relu), &[a]).unwrap();
        let b = g.push("b", conv(2), &[relu]).unwrap();
        let add = g.push("add", Layer::Add, &[b, 0]).unwrap();
        g.push("out", Layer::Activation(Activation::Relu6), &[add]).unwrap();
        assert_eq!(listing(&g), ["a+relu([0])->2", "b+add+out([2]|0)->5"]);
    }

    #[test]
    fn a_sum_fuses_into_only_one_branch_and_only_once() {
        let mut g = Graph::new(2);
        let a = g.push("a", conv(2), &[0]).unwrap();
        let b = g.push("b", conv(2), &[0]).unwrap();
        let first = g.push("first", Layer::Add, &[a, b]).unwrap();
        g.push("second", Layer::Add, &[first, 0]).unwrap();
        assert_eq!(listing(&g), ["a([0])->1", "b+first([0]|1)->3", "second([3, 0])->4"]);
    }

    #[test]
    fn a_value_with_two_readers_is_kept() {
        let mut g = Graph::new(2);
        let a = g.push("a", conv(2), &[0]).unwrap();
        let relu = g.push("relu", Layer::Activation(Activation::Relu), &[a]).unwrap();
        g.push("twice", Layer::Add, &[relu, relu]).unwrap();
        let late = g.push("late", Layer::Add, &[3, a]).unwrap();
        assert_eq!(late, g.output());
        assert_eq!(listing(&g), ["a([0])->1", "relu([1])->2", "twice([2, 2])->3", "late([3, 1])->4"]);
    }

    #[test]
    fn layers_that_compute_nothing_cost_nothing() {
        let mut g = Graph::new(2);
        let a = g.push("a", conv(2), &[0]).unwrap();
        g.push("unread", conv(2), &[a]).unwrap();
        let flat = g.push("flat", Layer::Flatten, &[a]).unwrap();
        let dropout = g.push("dropout", Layer::Dropout { p: 0.5 }, &[flat]).unwrap();
        let relu = g.push("relu", Layer::Activation(Activation::Relu), &[dropout]).unwrap();
        let linear = Linear { weight: Param::new(Tensor::zeros(&[3, 8])), bias: None };
        let fc = g.push("fc", Layer::Linear(linear), &[relu]).unwrap();
        g.push("dropout2", Layer::Dropout { p: 0.5 }, &[fc]).unwrap();
        assert_eq!(listing(&g), ["a+relu([0])->2", "fc([2])->3"]);
        let mut g = Graph::new(2);
        g.push("flat", Layer::Flatten, &[0]).unwrap();
        assert_eq!(listing(&g), ["flat([0])->1"]);
    }

    #[test]
    fn gathered_channels_are_gathered_at_once() {
        let gather = |channels: &[u32]| Layer::Gather { channels: channels.to_vec() };
        let mut g = Graph::new(2);
        let a = g.push("a", conv(2), &[0]).unwrap();
        let shuffle = g.push("shuffle", gather(&[1, 0, 1, 0]), &[a]).unwrap();
        let first = g.push("first", gather(&[0, 3]), &[shuffle]).unwrap();
        let second = g.push("second", gather(&[2]), &[shuffle]).unwrap();
        let third = g.push("third", gather(&[0]), &[second]).unwrap();
        g.push("out", Layer::Concat, &[first, second, third]).unwrap();
        let ops = lower(&g, [1, 2, 2, 2]).unwrap();
        let found: Vec<_> = ops.iter().map(|op| (op.node.name.as_str(), op.channels.as_deref())).collect();
        let gathered: [(&str, Option<&[u32]>); 5] = [
            ("a", None),
            ("first", Some(&[1, 0])),
            ("second", Some(&[1])),
            ("third", Some(&[1])),
            ("out", None),
        ];
        assert_eq!(found, gathered);
        assert!(ops[1..4].iter().all(|op| op.inputs == [1] && op.x == [1, 2, 2, 2]));
    }

    #[test]
    fn long_concatenations_are_joined_in_parts() {
        let mut g = Graph::new(2);
        g.push("concat", Layer::Concat, &[0; 33]).unwrap();
        let ops = lower(&g, [1, 2, 2, 2]).unwrap();
        let lens: Vec<(usize, usize)> = ops.iter().map(|op| (op.inputs.len(), op.len())).collect();
        assert_eq!(lens, [(16, 16 * 8), (16, 16 * 8), (3, 33 * 8)]);
    }
}
