//! Which fields of ONNX's messages are messages or lists, and what their texts are about. The wire format does not say it.

use super::fields::{attribute, entry, graph, model, node, opset, tensor, value};

/// A type of message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Message {
    Model,
    Opset,
    Entry,
    Graph,
    Node,
    Attribute,
    Tensor,
    Input,
    Type,
    TensorType,
    Shape,
    Dim,
}

/// What the bytes of a field are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Message(Message),
    /// Packed varints.
    Varints,
    Text(Topic),
    /// Packed numbers, and all else.
    Bytes,
}

/// What a text is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Topic {
    /// The name of a value, such as the output of a node.
    Name,
    Operator,
    Domain,
    AttributeName,
    AttributeText,
    EntryKey,
    EntryText,
}

/// What the bytes of field `number` of `message` are. Graphs within attributes stay bytes, so that the depth is bounded.
pub fn kind(message: Message, number: u64) -> Kind {
    match (message, number) {
        (Message::Model, model::GRAPH) => Kind::Message(Message::Graph),
        (Message::Model, model::OPSET) => Kind::Message(Message::Opset),
        (Message::Model, model::METADATA) | (Message::Tensor, tensor::EXTERNAL) => {
            Kind::Message(Message::Entry)
        }
        (Message::Graph, graph::NODE) => Kind::Message(Message::Node),
        (Message::Graph, graph::INITIALIZER) | (Message::Attribute, attribute::TENSOR) => {
            Kind::Message(Message::Tensor)
        }
        (Message::Graph, graph::INPUT | graph::OUTPUT) => Kind::Message(Message::Input),
        (Message::Node, node::ATTRIBUTE) => Kind::Message(Message::Attribute),
        (Message::Input, value::TYPE) => Kind::Message(Message::Type),
        (Message::Type, value::TENSOR_TYPE) => Kind::Message(Message::TensorType),
        (Message::TensorType, value::SHAPE) => Kind::Message(Message::Shape),
        (Message::Shape, value::DIM) => Kind::Message(Message::Dim),
        (Message::Attribute, attribute::INTS) => Kind::Varints,
        (Message::Tensor, tensor::DIMS | tensor::INT32S | tensor::INT64S) => Kind::Varints,
        (Message::Node, node::INPUT | node::OUTPUT) => Kind::Text(Topic::Name),
        (Message::Tensor, tensor::NAME) | (Message::Input, value::NAME) => Kind::Text(Topic::Name),
        (Message::Node, node::OP) => Kind::Text(Topic::Operator),
        (Message::Node, node::DOMAIN) | (Message::Opset, opset::DOMAIN) => Kind::Text(Topic::Domain),
        (Message::Attribute, attribute::NAME) => Kind::Text(Topic::AttributeName),
        (Message::Attribute, attribute::TEXT) => Kind::Text(Topic::AttributeText),
        (Message::Entry, entry::KEY) => Kind::Text(Topic::EntryKey),
        (Message::Entry, entry::VALUE) => Kind::Text(Topic::EntryText),
        _ => Kind::Bytes,
    }
}
