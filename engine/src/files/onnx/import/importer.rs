//! The state of an import: the graph so far, and what each name of a value stands for.

use super::array::Array;
use super::external::Folder;
use super::int::Int;
use super::model::{OnnxGraph, OnnxNode};
use super::tensor::RawTensor;
use super::value::{Part, Value};
use super::view::{Axis, View};
use crate::graph::layer::Layer;
use crate::graph::pool::{Pool, PoolKind, Window};
use crate::graph::{Node, NodeId};
use crate::{Param, Tensor};
use std::collections::{HashMap, HashSet};

/// How many weights there may be for each number of the file: nodes may share constants and compute others, but not without
/// end.
const MOST_SHARED: usize = 8;

/// An import in progress.
pub(super) struct Importer<'m, 'a> {
    graph: &'m OnnxGraph<'a>,
    folder: &'m Folder,
    /// The version of the operators.
    pub opset: i64,
    /// The number of images of a batch.
    pub batch: Int,
    /// The layers so far. The first is the input.
    pub nodes: Vec<Node>,
    values: HashMap<&'a str, Value>,
    /// The types of the elements of constants that nodes hold, pass on or convert.
    elements: HashMap<&'a str, i64>,
    /// The number of readers of each value, the network's output counting as one.
    readers: HashMap<&'a str, usize>,
    /// For each layer, the number of values that are views of it, and the number of their readers.
    views: HashMap<NodeId, [usize; 2]>,
    names: HashSet<String>,
    /// The number of names that were made.
    numbered: usize,
    /// The flattened form of nodes.
    flattened: HashMap<NodeId, NodeId>,
    /// Weights that may still be made.
    weights_left: usize,
    /// The constants of the file for whose numbers more may be made.
    counted: HashSet<&'a str>,
    /// Remarks for the user.
    pub notes: Vec<String>,
}

impl<'m, 'a> Importer<'m, 'a> {
    /// Starts the import of `graph`, of operators of version `opset`, whose batches have `batch` images.
    pub fn new(graph: &'m OnnxGraph<'a>, opset: i64, folder: &'m Folder, batch: Int) -> Self {
        let mut readers: HashMap<&str, usize> = HashMap::new();
        let read = graph.nodes.iter().flat_map(|node| &node.inputs).chain(&graph.outputs);
        read.for_each(|name| *readers.entry(name).or_default() += 1);
        Self {
            graph,
            folder,
            opset,
            batch,
            nodes: Vec::new(),
            values: HashMap::new(),
            elements: HashMap::new(),
            readers,
            views: HashMap::new(),
            names: HashSet::new(),
            numbered: 0,
            flattened: HashMap::new(),
            weights_left: 1 << 16,
            counted: HashSet::new(),
            notes: Vec::new(),
        }
    }

    /// Defines the network's input.
    pub fn start(&mut self, name: &'a str, view: View) {
        let layer = Layer::Input { channels: view.size[2] };
        let name_here = self.fresh(if name.is_empty() { "input" } else { name });
        self.nodes.push(Node { name: name_here, layer, inputs: Vec::new() });
        self.values.insert(name, Value::Computed(view));
    }

    /// What `name` stands for, if that is known. Constants of the file are, once they were read.
    pub fn known(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Whether `name` is a constant of the file.
    pub fn is_constant(&self, name: &str) -> bool {
        self.graph.constants.contains_key(name)
    }

    /// Lets `name` stand for `value`. Returns whether it was free.
    pub fn define(&mut self, name: &'a str, value: Value) -> bool {
        let view = match &value {
            Value::Computed(view) | Value::Formula(view, ..) | Value::Quantized(view, _) => Some(view),
            Value::Groups { of, .. } => Some(of),
            Value::Window(part) | Value::Pooled(_, part) => Some(&part.of),
            Value::Constant(_) | Value::Unknown => None,
        };
        if let Some(view) = view {
            let [values, readers] = self.views.entry(view.node).or_default();
            *values += 1;
            *readers += self.readers.get(name).copied().unwrap_or(0);
        }
        self.values.insert(name, value).is_none() && !self.is_constant(name)
    }

    /// The network's output.
    pub fn output(&self) -> Result<Value, String> {
        match self.graph.outputs[..] {
            [name] => {
                self.values.get(name).cloned().ok_or_else(|| format!("no node makes its output `{name}`"))
            }
            ref names => Err(format!("expected one output, found {}: {}", names.len(), names.join(", "))),
        }
    }

    /// Whether `name` is the network's output, and nothing else reads it.
    pub fn is_output(&self, name: &str) -> bool {
        self.graph.outputs == [name] && self.readers.get(name) == Some(&1)
    }

    /// Whether the layer `node` has one reader. Each view of it but the last is read to make the next.
    pub fn is_unshared(&self, node: NodeId) -> bool {
        self.views.get(&node).is_some_and(|[values, readers]| values == readers)
    }

    /// The value of input `i` of `node`.
    pub fn value(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<Value, String> {
        let name = node.input(i).ok_or_else(|| format!("lacks its input {i}"))?;
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        let raw =
            self.graph.constants.get(name).ok_or_else(|| format!("reads `{name}`, which does not exist"))?;
        let array = self.may_read(name, raw).and_then(|()| raw.array(self.folder));
        self.count(name, array.as_ref().map_or(0, Array::len));
        let value = array.map(Value::Constant);
        // A damaged constant is in the list once.
        self.values.insert(name, value.clone().unwrap_or(Value::Unknown));
        value
    }

    /// The constant input `i` of `node`, if it is given.
    pub fn constant(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<Option<Array>, String> {
        let Some(name) = node.input(i) else { return Ok(None) };
        match self.value(node, i)? {
            Value::Constant(array) => Ok(Some(array)),
            _ => Err(format!("computes its input `{name}`; only constants are understood there")),
        }
    }

    /// The constant `raw` of a node.
    pub fn array(&mut self, raw: &RawTensor<'a>) -> Result<Array, String> {
        let array = raw.array(self.folder)?;
        self.weights_left = self.weights_left.saturating_add(array.len().saturating_mul(MOST_SHARED));
        Ok(array)
    }

    /// The constant input `i` of `node` as numbers, of whatever type they are, if it is given.
    pub fn numbers(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<Option<Tensor>, String> {
        let Some(name) = node.input(i) else { return Ok(None) };
        let known = self.values.get(name);
        match (known, self.graph.constants.get(name)) {
            (None, Some(raw)) => {
                self.may_read(name, raw)?;
                let values = raw.floats(self.folder)?;
                self.count(name, values.len());
                Ok(Some(values))
            }
            (Some(Value::Constant(Array::Number(_, values))), _) => Ok(Some(values.clone())),
            _ => Err(format!("computes its input `{name}`; only constants are understood there")),
        }
    }

    /// Checks that the constant `raw` called `name` may be read. Each time but the first its numbers are made once more.
    fn may_read(&mut self, name: &str, raw: &RawTensor<'a>) -> Result<(), String> {
        match self.counted.contains(name) {
            true => self.make(raw.claimed()),
            false => Ok(()),
        }
    }

    /// Lets more weights be made for the `len` numbers that the constant `name` has, once.
    fn count(&mut self, name: &'a str, len: usize) {
        if self.counted.insert(name) {
            self.weights_left = self.weights_left.saturating_add(len.saturating_mul(MOST_SHARED));
        }
    }

    /// The type of the elements of the constant input `i` of `node`, if the file says it.
    pub fn element(&self, node: &OnnxNode<'a>, i: usize) -> Option<i64> {
        let name = node.input(i)?;
        let held = || self.graph.constants.get(name).map(|raw| raw.element());
        self.elements.get(name).copied().or_else(held)
    }

    /// Remembers the type of the elements of the constant that `node` makes.
    pub fn remember_element(&mut self, node: &OnnxNode<'a>, element: i64) {
        self.elements.extend(node.outputs.first().map(|&output| (output, element)));
    }

    /// The constant list of integers that is input `i` of `node`, however long it is.
    pub fn indices(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<Vec<i64>, String> {
        let name = node.input(i).ok_or_else(|| format!("lacks its input {i}"))?;
        match (self.values.get(name), self.graph.constants.get(name)) {
            (None, Some(raw)) => {
                self.may_read(name, raw)?;
                let values = raw.integers(self.folder)?;
                self.count(name, values.len());
                Ok(values)
            }
            (Some(Value::Constant(array)), _) => array.plain(&format!("its input {i}")),
            _ => Err(format!("computes its input `{name}`; only constants are understood there")),
        }
    }

    /// The constant numbers of input `i` of `node`.
    pub fn weights(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<Tensor, String> {
        let array = self.constant(node, i)?.ok_or_else(|| format!("lacks its input {i}"))?;
        let weights = array.floats(&format!("its input {i}"))?;
        self.may_make(weights.len())?;
        Ok(weights.clone())
    }

    /// The computed input `i` of `node`, with the padding that a `Pad` before it adds.
    pub fn padded(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<View, String> {
        match self.value(node, i)? {
            Value::Computed(view) => Ok(view),
            Value::Formula(view, formula, name) => self.layers_of(&view, formula, &name),
            Value::Groups { .. } => {
                Err("reads groups of channels, of which only a shuffle and a group norm are understood"
                    .into())
            }
            Value::Quantized(..) => Err("reads quantized numbers; only `DequantizeLinear` does".into()),
            Value::Window(part) => self.cropped(&part.of, part.cuts(), node.inputs[i]),
            Value::Pooled(kind, part) if part.is_whole() => Ok(self.pooled(node, kind, &part)),
            Value::Pooled(..) => Err("reads a part of a pool, which no layer does".into()),
            Value::Constant(_) => Err(format!("works on the constant `{}`", node.inputs[i])),
            Value::Unknown => Err("reads an unknown value".into()),
        }
    }

    /// A whole image that is reduced along one axis.
    fn pooled(&mut self, node: &OnnxNode<'a>, kind: PoolKind, part: &Part) -> View {
        let [mut h, mut w, c] = part.of.size;
        match part.axis {
            Axis::H => h = 1,
            _ => w = 1,
        }
        let layer = Layer::Pool(Pool { kind, window: Window::Adaptive([h, w]) });
        let id = self.push_named(&format!("{}.pool", node.label()), layer, &[part.of.node]);
        View::image(id, [h, w, c])
    }

    /// The computed input `i` of `node`, whose padding becomes a layer.
    pub fn computed(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<View, String> {
        let view = self.padded(node, i)?;
        match view.padding {
            [0, 0, 0, 0] => Ok(view),
            _ => self.with_padding(&view, node.label()),
        }
    }

    /// Checks that `len` more weights may be made.
    pub fn may_make(&self, len: usize) -> Result<(), String> {
        match len <= self.weights_left {
            true => Ok(()),
            false => {
                Err("shares its weights with so many nodes that they take far more than the file".into())
            }
        }
    }

    /// Counts `len` weights that are made.
    pub fn make(&mut self, len: usize) -> Result<(), String> {
        self.may_make(len)?;
        self.weights_left -= len;
        Ok(())
    }

    /// A parameter with `value`.
    pub fn param(&mut self, value: Tensor) -> Result<Param, String> {
        self.make(value.len())?;
        Ok(Param::new(value))
    }

    /// Adds a layer for `node`, named like its weight if that has a name of PyTorch, else like the node.
    pub fn push(&mut self, node: &OnnxNode<'a>, layer: Layer, inputs: &[NodeId]) -> NodeId {
        let weight = node.input(1).and_then(|weight| weight.strip_suffix(".weight"));
        let named = weight.filter(|name| !name.is_empty() && !layer.params().is_empty());
        self.push_named(named.unwrap_or(node.label()), layer, inputs)
    }

    /// Names the layer `id` like `name`.
    pub fn rename(&mut self, id: NodeId, name: &str) {
        self.nodes[id].name = self.fresh(name);
    }

    /// Adds a layer with a name like `name`.
    pub fn push_named(&mut self, name: &str, layer: Layer, inputs: &[NodeId]) -> NodeId {
        let name = self.fresh(name);
        self.nodes.push(Node { name, layer, inputs: inputs.to_vec() });
        self.nodes.len() - 1
    }

    /// The node of `view` as a vector.
    pub fn vector(&mut self, view: &View) -> NodeId {
        if view.flat {
            return view.node;
        }
        if let Some(&flat) = self.flattened.get(&view.node) {
            return flat;
        }
        let name = format!("{}.flatten", self.nodes[view.node].name);
        let flat = self.push_named(&name, Layer::Flatten, &[view.node]);
        self.flattened.insert(view.node, flat);
        flat
    }

    /// `name`, or one like it that is not taken.
    fn fresh(&mut self, name: &str) -> String {
        let mut fresh = name.to_string();
        while !self.names.insert(fresh.clone()) {
            self.numbered += 1;
            fresh = format!("{name}_{}", self.numbered);
        }
        fresh
    }
}
