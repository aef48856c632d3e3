//! Mutations that add nodes and attributes: a node is put between a value and one of its readers, so that the graph stays one
//! that a reader follows to its end.

use super::fields::attribute::kind;
use super::fields::{attribute, graph, node, tensor};
use super::schema::{Kind, Message, Topic, kind as kind_of};
use super::tree::{Field, Value, places};
use super::words::{ATTRIBUTES, OPERATORS, TEXTS};
use crate::mutate::Random;

/// Numbers at the ends of `f32` and between.
pub const FLOATS: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    3.0,
    6.0,
    1e-5,
    1e-40,
    1e20,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// The names of all values of `tree`, as often as they are used.
pub fn names(tree: &[Field]) -> Vec<Vec<u8>> {
    let named = |of: Message, field: &Field| kind_of(of, field.number) == Kind::Text(Topic::Name);
    let found = places(tree, &named);
    found.iter().filter_map(|place| Some(place.field(tree)?.text()?.to_vec())).collect()
}

/// Whether `field` of a message `of` is a node.
pub fn is_node(of: Message, field: &Field) -> bool {
    (of, field.number) == (Message::Graph, graph::NODE)
}

/// Copies a node of `donor` into `tree`, in every other case with another operator, between a reader and what it reads. Constants
/// that it reads come along.
pub fn insert(tree: &mut Vec<Field>, donor: &[Field], random: &mut Random) -> Option<()> {
    let place = random.pick(&places(donor, &is_node))?.clone();
    let Value::Message(_, mut fields) = place.field(donor)?.value.clone() else { return None };
    let all = names(tree);
    let reader = random.pick(&places(tree, &is_node))?.clone();
    let output = format!("v{}", random.below(1 << 16)).into_bytes();
    let read = redirect(reader.fields_mut(tree)?, &output, random)?;
    let mut constants = Vec::new();
    for (i, input) in fields.iter_mut().filter(|field| field.number == node::INPUT).enumerate() {
        let name = input.text().unwrap_or_default();
        let known = all.iter().any(|other| other == name);
        match constant(donor, name) {
            _ if i == 0 => *input = Field::bytes(node::INPUT, &read),
            Some(copy) if !known => constants.push(copy),
            Some(_) => {}
            None => *input = Field::bytes(node::INPUT, random.pick(&all)?),
        }
    }
    for field in &mut fields {
        match field.number {
            node::OUTPUT | node::NAME => *field = Field::bytes(field.number, &output),
            node::OP if random.below(2) == 0 => {
                *field = Field::bytes(node::OP, OPERATORS[random.below(OPERATORS.len())].as_bytes());
            }
            _ => {}
        }
    }
    let (list, i) = reader.list(tree)?;
    list.insert(i, Field::message(graph::NODE, Message::Node, fields));
    list.extend(constants);
    Some(())
}

/// Lets the node `reader` read `name` in place of one of its inputs, and returns which.
fn redirect(reader: &mut [Field], name: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut inputs: Vec<&mut Field> = reader.iter_mut().filter(|field| field.number == node::INPUT).collect();
    // The first is computed more often than the others.
    let i = if random.below(4) == 0 { random.below(inputs.len().max(1)) } else { 0 };
    let input = inputs.get_mut(i)?;
    let read = input.text()?.to_vec();
    **input = Field::bytes(node::INPUT, name);
    Some(read)
}

/// The constant `name` of `tree`.
fn constant(tree: &[Field], name: &[u8]) -> Option<Field> {
    let is_it = |of: Message, field: &Field| match &field.value {
        Value::Message(Message::Tensor, fields) if of == Message::Graph => {
            fields.iter().any(|field| field.number == tensor::NAME && field.text() == Some(name))
        }
        _ => false,
    };
    places(tree, &is_it).first()?.field(tree).cloned()
}

/// Adds an attribute to a node of `tree`.
pub fn add_attribute(tree: &mut Vec<Field>, random: &mut Random) -> Option<()> {
    let place = random.pick(&places(tree, &is_node))?.clone();
    let (name, kind) = ATTRIBUTES[random.below(ATTRIBUTES.len())];
    let mut fields = vec![Field::bytes(attribute::NAME, name.as_bytes()), Field::int(attribute::TYPE, kind)];
    fields.extend(value(kind, random));
    place.fields_mut(tree)?.push(Field::message(node::ATTRIBUTE, Message::Attribute, fields));
    Some(())
}

/// The fields of a value of an attribute.
fn value(kind: i64, random: &mut Random) -> Vec<Field> {
    let few = |random: &mut Random, make: &dyn Fn(&mut Random) -> Field| -> Vec<Field> {
        (0..random.below(5)).map(|_| make(random)).collect()
    };
    let float = |number, random: &mut Random| {
        let bits = FLOATS[random.below(FLOATS.len())].to_bits();
        Field { number, value: Value::Four(bits) }
    };
    // Most lists and numbers of nodes are small.
    let int = |number, random: &mut Random| match random.below(3) {
        0 => Field::int(number, random.integer()),
        _ => Field::int(number, random.below(4) as i64),
    };
    match kind {
        kind::INT => vec![int(attribute::INT, random)],
        kind::FLOAT => vec![float(attribute::FLOAT, random)],
        kind::TEXT => {
            vec![Field::bytes(attribute::TEXT, TEXTS[random.below(TEXTS.len())].as_bytes())]
        }
        kind::FLOATS => few(random, &|random| float(attribute::FLOATS, random)),
        _ => few(random, &|random| int(attribute::INTS, random)),
    }
}
