//! The messages of an ONNX file, borrowed from its bytes.
//!
//! What is listed takes a small multiple of its bytes: names and weights are slices, and lists are bounded.

use super::tensor::RawTensor;
use crate::files::onnx::fields::{attribute, entry, graph, model, node, opset, value};
use crate::files::onnx::wire::{Field, Fields};
use std::collections::HashMap;

/// The largest number of nodes, of constants, and of inputs and outputs of a graph.
const MOST_NODES: usize = 1 << 16;

/// The largest number of inputs, of outputs and of attributes of a node.
const MOST_OF_A_NODE: usize = 1 << 10;

/// A whole file.
#[derive(Default)]
pub(super) struct OnnxModel<'a> {
    /// The version of the standard operators.
    pub opset: i64,
    /// The graph.
    pub graph: OnnxGraph<'a>,
    /// Metadata by key.
    pub metadata: HashMap<&'a str, &'a str>,
}

/// A graph.
#[derive(Default)]
pub(super) struct OnnxGraph<'a> {
    pub nodes: Vec<OnnxNode<'a>>,
    pub constants: HashMap<&'a str, RawTensor<'a>>,
    pub inputs: Vec<OnnxInput<'a>>,
    pub outputs: Vec<&'a str>,
}

/// An operation.
#[derive(Default)]
pub(super) struct OnnxNode<'a> {
    pub name: &'a str,
    pub op: &'a str,
    pub domain: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    attributes: Vec<(&'a str, Attribute<'a>)>,
}

/// The value of an attribute.
pub(super) enum Attribute<'a> {
    Int(i64),
    Float(f32),
    Text(&'a str),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(Box<RawTensor<'a>>),
    /// A graph, or another value that no operator here has.
    Other,
}

/// An input of the network.
#[derive(Default)]
pub(super) struct OnnxInput<'a> {
    pub name: &'a str,
    /// The type of its elements; 0 if the file does not say it.
    pub element: i64,
    /// Its size along each axis, `None` where any size is accepted.
    pub dims: Vec<Option<usize>>,
}

impl<'a> OnnxModel<'a> {
    /// Reads the whole file `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let (mut found, mut graph) = (Self::default(), None);
        for field in Fields(bytes) {
            match field? {
                (model::GRAPH, field) => graph = Some(field.bytes()?),
                (model::OPSET, field) => {
                    let (domain, version) = operators(field.bytes()?)?;
                    if domain.is_empty() || domain == "ai.onnx" {
                        found.opset = version;
                    }
                }
                (model::METADATA, field) => {
                    bounded(found.metadata.len(), "metadata entries")?;
                    let (key, value) = metadata(field.bytes()?)?;
                    found.metadata.insert(key, value);
                }
                (model::FUNCTIONS, _) => {
                    return Err("it defines functions of its own, which are not read".into());
                }
                _ => {}
            }
        }
        found.graph = OnnxGraph::parse(graph.ok_or("it holds no graph: this is no ONNX file")?)?;
        Ok(found)
    }
}

fn operators(bytes: &[u8]) -> Result<(&str, i64), String> {
    let (mut domain, mut version) = ("", 0);
    for field in Fields(bytes) {
        match field? {
            (opset::DOMAIN, field) => domain = field.text()?,
            (opset::VERSION, field) => version = field.int()?,
            _ => {}
        }
    }
    Ok((domain, version))
}

fn metadata(bytes: &[u8]) -> Result<(&str, &str), String> {
    let (mut key, mut value) = ("", "");
    for field in Fields(bytes) {
        match field? {
            (entry::KEY, field) => key = field.text()?,
            (entry::VALUE, field) => value = field.text()?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Refuses a list that already has as many elements as it may have.
fn bounded(len: usize, what: &str) -> Result<(), String> {
    match len < MOST_NODES {
        true => Ok(()),
        false => Err(format!("it has more than {MOST_NODES} {what}")),
    }
}

impl<'a> OnnxGraph<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut found = Self::default();
        for field in Fields(bytes) {
            match field? {
                (graph::NODE, field) => {
                    bounded(found.nodes.len(), "nodes")?;
                    found.nodes.push(OnnxNode::parse(field.bytes()?)?);
                }
                (graph::INITIALIZER, field) => {
                    bounded(found.constants.len(), "constants")?;
                    let constant = RawTensor::parse(field.bytes()?)?;
                    if let Some(other) = found.constants.insert(constant.name, constant) {
                        return Err(format!("two of its constants are called `{}`", other.name));
                    }
                }
                (graph::INPUT, field) => {
                    bounded(found.inputs.len(), "inputs")?;
                    found.inputs.push(OnnxInput::parse(field.bytes()?)?);
                }
                (graph::OUTPUT, field) => {
                    bounded(found.outputs.len(), "outputs")?;
                    found.outputs.push(OnnxInput::parse(field.bytes()?)?.name);
                }
                (graph::SPARSE_INITIALIZER, _) => {
                    return Err("it holds sparse constants, which are not read".into());
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

impl<'a> OnnxNode<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut found = Self::default();
        for field in Fields(bytes) {
            match field? {
                (node::INPUT, field) => found.inputs.push(field.text()?),
                (node::OUTPUT, field) => found.outputs.push(field.text()?),
                (node::NAME, field) => found.name = field.text()?,
                (node::OP, field) => found.op = field.text()?,
                (node::DOMAIN, field) => found.domain = field.text()?,
                (node::ATTRIBUTE, field) => found.attributes.push(attribute(field.bytes()?)?),
                _ => {}
            }
            let longest = found.inputs.len().max(found.outputs.len()).max(found.attributes.len());
            if longest > MOST_OF_A_NODE {
                let message = "inputs, outputs or attributes";
                return Err(format!("node `{}` has more than {MOST_OF_A_NODE} {message}", found.name));
            }
        }
        Ok(found)
    }

    /// The name in messages.
    pub fn label(&self) -> &'a str {
        match (self.name, self.outputs.first()) {
            ("", Some(output)) => output,
            (name, _) => name,
        }
    }

    /// Input `i`, if it is given.
    pub fn input(&self, i: usize) -> Option<&'a str> {
        self.inputs.get(i).copied().filter(|name| !name.is_empty())
    }

    /// Refuses attributes other than these.
    pub fn only(&self, names: &[&str]) -> Result<(), String> {
        match self.attributes.iter().find(|(name, _)| !names.contains(name)) {
            Some((name, _)) => Err(format!("has the attribute `{name}`, which is not understood")),
            None => Ok(()),
        }
    }

    /// Refuses outputs other than the first.
    pub fn one_output(&self) -> Result<(), String> {
        match self.outputs.iter().skip(1).find(|name| !name.is_empty()) {
            Some(name) => Err(format!("its further output `{name}` is not understood")),
            None => Ok(()),
        }
    }

    /// An attribute, if it is given.
    pub fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The integer attribute `name`.
    pub fn int(&self, name: &str) -> Result<Option<i64>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Int(value)) => Ok(Some(*value)),
            Some(_) => Err(format!("its attribute `{name}` is not an integer")),
        }
    }

    /// The attribute `name`, a number.
    pub fn float(&self, name: &str) -> Result<Option<f32>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Float(value)) => Ok(Some(*value)),
            Some(_) => Err(format!("its attribute `{name}` is not a number")),
        }
    }

    /// The attribute `name`, a text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Text(value)) => Ok(Some(value)),
            Some(_) => Err(format!("its attribute `{name}` is not a text")),
        }
    }

    /// The attribute `name`, a list of integers.
    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values)),
            Some(_) => Err(format!("its attribute `{name}` is not a list of integers")),
        }
    }
}

fn attribute(bytes: &[u8]) -> Result<(&str, Attribute<'_>), String> {
    let (mut name, mut kind, mut found) = ("", 0, Attribute::Other);
    let (mut ints, mut floats) = (Vec::new(), Vec::new());
    for field in Fields(bytes) {
        match field? {
            (attribute::NAME, field) => name = field.text()?,
            (attribute::INT, field) => found = Attribute::Int(field.int()?),
            (attribute::FLOAT, field) => found = Attribute::Float(field.float()?),
            (attribute::TEXT, Field::Bytes(text)) => {
                found = std::str::from_utf8(text).map_or(Attribute::Other, Attribute::Text);
            }
            (attribute::TENSOR, field) => {
                found = Attribute::Tensor(Box::new(RawTensor::parse(field.bytes()?)?));
            }
            (attribute::INTS, field) => field.ints(&mut ints)?,
            (attribute::FLOATS, field) => field.fixed::<4>(&mut floats)?,
            (attribute::TYPE, field) => kind = field.int()?,
            _ => {}
        }
    }
    // An empty list leaves no trace but its type.
    let floats = || floats.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let found = match kind {
        attribute::kind::INTS => Attribute::Ints(ints),
        attribute::kind::FLOATS => Attribute::Floats(floats()),
        0 if !ints.is_empty() => Attribute::Ints(ints),
        // Zero need not be written.
        attribute::kind::INT if matches!(found, Attribute::Other) => Attribute::Int(0),
        attribute::kind::FLOAT if matches!(found, Attribute::Other) => Attribute::Float(0.0),
        _ => found,
    };
    Ok((name, found))
}

impl<'a> OnnxInput<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut found = Self::default();
        for field in Fields(bytes) {
            match field? {
                (value::NAME, field) => found.name = field.text()?,
                (value::TYPE, field) => found.tensor(field.bytes()?)?,
                _ => {}
            }
        }
        Ok(found)
    }

    fn tensor(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        for field in Fields(bytes) {
            let (value::TENSOR_TYPE, field) = field? else { continue };
            for field in Fields(field.bytes()?) {
                match field? {
                    (value::ELEMENT, field) => self.element = field.int()?,
                    (value::SHAPE, field) => self.shape(field.bytes()?)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn shape(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        for field in Fields(bytes) {
            let (value::DIM, field) = field? else { continue };
            let mut dim = None;
            for field in Fields(field.bytes()?) {
                if let (value::DIM_VALUE, field) = field? {
                    let size = field.int()?;
                    let size = usize::try_from(size).ok().filter(|&size| size > 0);
                    let size = size.ok_or_else(|| format!("`{}` has an axis without a size", self.name))?;
                    dim = Some(size);
                }
            }
            self.dims.push(dim);
            if self.dims.len() > 8 {
                return Err(format!("`{}` has more than eight axes", self.name));
            }
        }
        Ok(())
    }
}
