//! The ONNX graph as it is being written.

use super::constant::Constant;
use crate::Tensor;
use crate::files::onnx::fields::attribute::kind;
use crate::files::onnx::fields::{attribute, node};
use crate::files::onnx::wire::Message;
use crate::files::pytorch_layout::Layout;
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
    pub constants: Vec<Constant>,
    names: HashSet<String>,
    /// Number of names that were made.
    numbered: usize,
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

    /// Adds constant numbers, and returns their name.
    pub fn floats(&mut self, name: &str, values: &Tensor) -> String {
        self.weight(name, values, Layout::Same)
    }

    /// Adds constant numbers that are written in `layout`, and returns their name.
    pub fn weight(&mut self, name: &str, values: &Tensor, layout: Layout) -> String {
        let name = self.fresh(name);
        self.constants.push(Constant::floats(name.clone(), values, layout));
        name
    }

    /// Adds a constant number.
    pub fn float(&mut self, name: &str, value: f32) -> String {
        self.floats(name, &Tensor::scalar(value))
    }

    /// Adds a constant list of integers.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let name = self.fresh(name);
        self.constants.push(Constant::ints(name.clone(), values.to_vec()));
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
