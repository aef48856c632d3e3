//! A graph as the messages of an ONNX file.

use super::constant::Constant;
use super::document::{Document, Value};
use super::external::External;
use super::layers::Layers;
use super::options::{Batch, Images, OnnxOptions};
use crate::files::onnx::fields::{element, entry, graph as of_graph, model, opset, value};
use crate::files::onnx::wire::Message;
use crate::{Error, Graph, Result, Tensor};

/// The parts of an ONNX file.
pub(super) struct Model {
    pub nodes: Vec<Message<'static>>,
    pub constants: Vec<Constant>,
    name: String,
    input: Message<'static>,
    output: Message<'static>,
    /// The fields before and after the graph.
    around: [Message<'static>; 2],
}

impl Model {
    /// The parts of `graph`, which share its weights.
    pub fn of(graph: &Graph, options: &OnnxOptions) -> Result<Self> {
        let [h, w, c] = graph.info.input;
        let shapes = graph.shapes([1, h, w, c])?;
        let mut document = Document::default();
        document.reserve(graph.nodes().iter().map(|node| node.name.clone()));
        let input = input(graph, options, &mut document)?;
        let output = Layers::new(graph, &shapes, options, &mut document)?.write()?;
        let shape = match shapes[graph.output()][..] {
            [_, h, w, c] => vec![c, h, w],
            ref other => other[1..].to_vec(),
        };
        let before = Message::default().int(model::IR_VERSION, options.ir_version());
        let before = before.bytes(model::PRODUCER, b"lopper");
        let before = before.bytes(model::PRODUCER_VERSION, env!("CARGO_PKG_VERSION").as_bytes());
        let opset = Message::default().bytes(opset::DOMAIN, b"").int(opset::VERSION, options.opset.into());
        let after = Message::default().message(model::OPSET, opset);
        Ok(Self {
            nodes: document.nodes,
            constants: document.constants,
            name: name_of(graph).to_string(),
            input,
            output: described(&output, element::FLOAT, options.batch, &shape),
            around: [before, after.messages(model::METADATA, metadata(graph, options)?)],
        })
    }

    /// The file, without the weights that are `external`.
    pub fn message<'a>(&'a self, external: Option<&External>) -> Message<'a> {
        let constants = match external {
            Some(external) => external.messages(&self.constants),
            None => self.constants.iter().map(Constant::inside).collect(),
        };
        let graph = Message::default().messages(of_graph::NODE, self.nodes.clone());
        let graph = graph.bytes(of_graph::NAME, self.name.as_bytes());
        let graph = graph.messages(of_graph::INITIALIZER, constants);
        let graph = graph.message(of_graph::INPUT, self.input.clone());
        let graph = graph.message(of_graph::OUTPUT, self.output.clone());
        let [before, after] = self.around.clone();
        before.message(model::GRAPH, graph).then(after)
    }
}

fn name_of(graph: &Graph) -> &str {
    if graph.info.arch.is_empty() { "lopper" } else { &graph.info.arch }
}

/// Describes the network's input. If it consists of bytes, adds the nodes that make the first node's value of them.
fn input(graph: &Graph, options: &OnnxOptions, document: &mut Document) -> Result<Message<'static>> {
    let (name, [h, w, c]) = (&graph.nodes()[0].name, graph.info.input);
    if options.images == Images::Normalized {
        return Ok(described(name, element::FLOAT, options.batch, &[c, h, w]));
    }
    let (mean, std) = (&graph.info.mean, &graph.info.std);
    if mean.len() != c || std.len() != c {
        return Err(Error::invalid("bytes cannot be normalized: the model has no mean and deviation"));
    }
    let bytes = document.fresh(&format!("{name}.bytes"));
    // In f64, because the offset is a difference of rounded numbers otherwise.
    let term = |f: &dyn Fn(f64, f64) -> f64| {
        Tensor::from_fn(&[1, c, 1, 1], |i| f(mean[i].into(), std[i].into()) as f32)
    };
    let scale = document.floats(&format!("{name}.scale"), &term(&|_, std| 1.0 / (255.0 * std)));
    let shift = document.floats(&format!("{name}.shift"), &term(&|mean, std| -mean / std));
    let to = Value::Int(element::FLOAT);
    let numbers = document.step("Cast", &[&bytes], &format!("{name}.numbers"), &[("to", to)]);
    let order = Value::Ints(&[0, 3, 1, 2]);
    let image = document.step("Transpose", &[&numbers], &format!("{name}.image"), &[("perm", order)]);
    let scaled = document.step("Mul", &[&image, &scale], &format!("{name}.scaled"), &[]);
    document.node("Add", &[&scaled, &shift], name, &[]);
    Ok(described(&bytes, element::UINT8, options.batch, &[h, w, c]))
}

/// Describes a value of `shape` for each image.
fn described(name: &str, kind: i64, batch: Batch, shape: &[usize]) -> Message<'static> {
    let first = match batch {
        Batch::Any => Message::default().bytes(value::DIM_PARAM, b"N"),
        Batch::Fixed(images) => Message::default().int(value::DIM_VALUE, images as i64),
    };
    let dims = shape.iter().map(|&dim| Message::default().int(value::DIM_VALUE, dim as i64));
    let shape = Message::default().messages(value::DIM, std::iter::once(first).chain(dims).collect());
    let tensor = Message::default().int(value::ELEMENT, kind).message(value::SHAPE, shape);
    let kind = Message::default().message(value::TENSOR_TYPE, tensor);
    Message::default().bytes(value::NAME, name.as_bytes()).message(value::TYPE, kind)
}

/// The key of the metadata entry that holds a graph's `info` as JSON.
pub(in crate::files::onnx) const INFO: &str = "lopper.info";

/// The classes and the preparation of images: as JSON for lopper, and for others the names of the classes, as a JSON
/// list, and the preparation in words.
fn metadata(graph: &Graph, options: &OnnxOptions) -> Result<Vec<Message<'static>>> {
    let json = |what: Result<String, serde_json::Error>| what.map_err(|e| Error::invalid(e.to_string()));
    let mut info = graph.info.clone();
    let values = match options.images {
        Images::Bytes => {
            // What reaches the network is the bytes themselves.
            (info.mean, info.std) = (vec![0.0; info.mean.len()], vec![1.0 / 255.0; info.std.len()]);
            "bytes, [N, H, W, C]".to_string()
        }
        Images::Normalized => {
            let (mean, std) = (&info.mean, &info.std);
            format!("[N, C, H, W], (pixel / 255 - {mean:?}) / {std:?}")
        }
    };
    let preparation = info.preparation.map_or(String::new(), |preparation| format!("{preparation}; "));
    let mut entries = vec![
        (INFO, json(serde_json::to_string(&info))?),
        ("preprocessing", format!("{preparation}{values}")),
    ];
    if !info.classes.is_empty() {
        entries.push(("classes", json(serde_json::to_string(&info.classes))?));
    }
    let entry = |(key, value): (&str, String)| {
        Message::default().bytes(entry::KEY, key.as_bytes()).bytes(entry::VALUE, value.as_bytes())
    };
    Ok(entries.into_iter().map(entry).collect())
}
