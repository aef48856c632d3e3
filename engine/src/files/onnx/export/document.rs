//! The ONNX graph as it is being written.

use crate::Tensor;
use crate::files::onnx::fields::attribute::kind;
use crate::files::onnx::fields::{attribute, element, node, tensor};
use crate::files::onnx::wire::Message;
use std::borrow::Cow;
use std::collections::HashSet;

/// The value of an attribute.
pub(super) enum Value<'v> {
    Int(i64),
    Float(f32),
    Text(&'v str),
    Ints(&'v [i64]),
}

/// Attributes by name.
pub(super) type Attributes<'v> = &'v [(&'v str, Value<'v>)];

/// Nodes and constants, with the names that are taken. Nodes and values share a name, as nodes and their outputs do
/// here.
#[derive(Default)]
pub(super) struct Document {
    pub nodes: Vec<Message<'static>>,
    pub constants: Vec<Message<'static>>,
    names: HashSet<String>,
    /// Number of names that were made.
    numbered: usize,
    /// Number of subnormal weights that were written as zeros.
    pub flushed: usize,
}

impl Document {
    /// Reserves `names`, which later ones avoid.
    pub fn reserve(&mut self, names: impl IntoIterator<Item = String>) {
        self.names.extend(names);
    }

    /// Returns `name`, or one like it that is not taken, and reserves it.
    pub fn fresh(&mut self, name: &str) -> String {
        let mut fresh = name.to_string();
        while !self.names.insert(fresh.clone()) {
            self.numbered += 1;
            fresh = format!("{name}_{}", self.numbered);
        }
        fresh
    }

    /// Adds a node that makes the value `output`, a name that was reserved. Empty inputs are left out.
    pub fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Attributes) {
        let message =
            inputs.iter().fold(Message::default(), |m, input| m.bytes(node::INPUT, input.as_bytes()));
        let message = message.bytes(node::OUTPUT, output.as_bytes()).bytes(node::NAME, output.as_bytes());
        let message = message.bytes(node::OP, op.as_bytes());
        let attributes = attributes.iter().map(|(name, value)| value.message(name)).collect();
        self.nodes.push(message.messages(node::ATTRIBUTE, attributes));
    }

    /// Adds a node whose value gets a name like `output`, and returns it.
    pub fn step(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Attributes) -> String {
        let output = self.fresh(output);
        self.node(op, inputs, &output, attributes);
        output
    }

    /// Adds constant numbers, and returns their name. Subnormal numbers, which slow other engines down, become zeros.
    pub fn floats(&mut self, name: &str, values: &Tensor) -> String {
        let shape: Vec<i64> = values.shape().iter().map(|&dim| dim as i64).collect();
        let subnormal = values.data().iter().filter(|value| value.is_subnormal()).count();
        self.flushed += subnormal;
        let flush = |&value: &f32| if value.is_subnormal() { 0.0 } else { value };
        let values = values.data().iter().map(flush).collect();
        self.constant(name, &shape, element::FLOAT, |m| m.floats(tensor::RAW, Cow::Owned(values)))
    }

    /// Adds a constant number.
    pub fn float(&mut self, name: &str, value: f32) -> String {
        self.floats(name, &Tensor::scalar(value))
    }

    /// Adds a constant list of integers.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, &[values.len() as i64], element::INT64, |m| m.bytes(tensor::RAW, &bytes))
    }

    fn constant(
        &mut self,
        name: &str,
        shape: &[i64],
        kind: i64,
        data: impl FnOnce(Message<'static>) -> Message<'static>,
    ) -> String {
        let name = self.fresh(name);
        let message = Message::default().ints(tensor::DIMS, shape).int(tensor::TYPE, kind);
        self.constants.push(data(message.bytes(tensor::NAME, name.as_bytes())));
        name
    }
}

impl Value<'_> {
    fn message(&self, name: &str) -> Message<'static> {
        let message = Message::default().bytes(attribute::NAME, name.as_bytes());
        match self {
            Self::Int(value) => message.int(attribute::INT, *value).int(attribute::TYPE, kind::INT),
            Self::Float(value) => message.float(attribute::FLOAT, *value).int(attribute::TYPE, kind::FLOAT),
            Self::Text(value) => {
                message.bytes(attribute::TEXT, value.as_bytes()).int(attribute::TYPE, kind::TEXT)
            }
            Self::Ints(values) => message.ints(attribute::INTS, values).int(attribute::TYPE, kind::INTS),
        }
    }
}
