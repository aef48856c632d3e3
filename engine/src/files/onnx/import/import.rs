//! Reads an ONNX file as a graph.
//!
//! Weights become parameters, so that an imported network trains and is compressed like one that is built here. Layouts
//! become views ([`View`](super::view::View)): transpositions and reshapes cost nothing. A node that has no counterpart
//! is refused, all of them in one list; nothing is guessed.

use super::external::Folder;
use super::importer::Importer;
use super::layout::{self, Layout};
use super::model::{OnnxInput, OnnxModel};
use super::run::run;
use super::value::Value;
use crate::files::file;
use crate::files::onnx::export::{INFO, MAX_OPSET, MIN_OPSET};
use crate::files::onnx::fields::element;
use crate::graph::info::Info;
use crate::graph::{Node, NodeId};
use crate::{Error, Graph, Result, input};
use std::path::Path;

/// How an ONNX file is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// Side of the images, where the file accepts any.
    pub side: Option<usize>,
}

/// What was read from an ONNX file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network. Its `info` is that of the file, if lopper wrote it; otherwise it has the size of the images,
    /// classes by number, and neither mean nor deviation, unless the input consists of bytes.
    pub graph: Graph,
    /// Remarks for the user.
    pub notes: Vec<String>,
}

/// The largest number of problems that are listed.
const SHOWN: usize = 20;

/// Reads the ONNX file `path`, whose constants may be in other files of the same folder.
///
/// # Errors
/// [`Error::File`] if the file is damaged, has operators of another version than is read, or if nodes are not
/// understood, with a list of these nodes and the reasons; [`Error::Memory`] if its weights do not fit.
pub fn import(path: impl AsRef<Path>, options: &ImportOptions) -> Result<Imported> {
    let path = path.as_ref();
    let bytes = input::read(path, u64::MAX)?;
    let refused = |message: String| Error::file(path, message);
    let model = OnnxModel::parse(&bytes).map_err(refused)?;
    if !(i64::from(MIN_OPSET)..=i64::from(MAX_OPSET)).contains(&model.opset) {
        let found = model.opset;
        return Err(refused(format!(
            "has operators of version {found}, expected {MIN_OPSET} to {MAX_OPSET}"
        )));
    }
    let folder = Folder::of(path);
    let images = image_input(&model).map_err(refused)?;
    let attempt = |layout| attempt(&model, images, layout, options, &folder);
    let found = match attempt(Layout::ChannelsFirst) {
        // An image may also be meant the other way, which then imports without a problem.
        Err(first) if matches!(images.dims.len(), 3 | 4) => match attempt(Layout::ChannelsLast) {
            Err(second) => Err(if looks_channels_last(images) { second } else { first }),
            found => found,
        },
        found => found,
    };
    let (graph, notes) = found.map_err(|problems| refused(listing(&problems)))?;
    let imported = Imported { graph, notes };
    file::check(&imported.graph).map_err(|e| e.in_file(path))?;
    Ok(imported)
}

/// Whether the last axis of `images` is as short as colors are, and the second is not: which problems are worth a list.
fn looks_channels_last(images: &OnnxInput) -> bool {
    matches!(images.dims[..], [_, h, _, Some(..=4)] if h.is_none_or(|h| h > 4))
}

/// The only input that is not a constant.
fn image_input<'m, 'a>(model: &'m OnnxModel<'a>) -> std::result::Result<&'m OnnxInput<'a>, String> {
    let constants = &model.graph.constants;
    let inputs: Vec<_> = model.graph.inputs.iter().filter(|x| !constants.contains_key(x.name)).collect();
    match inputs[..] {
        [only] => Ok(only),
        _ => {
            let names: Vec<&str> = inputs.iter().map(|input| input.name).take(SHOWN).collect();
            Err(format!("expected one input, found {}: {}", inputs.len(), names.join(", ")))
        }
    }
}

type Attempt = std::result::Result<(Graph, Vec<String>), Vec<String>>;

fn attempt(
    model: &OnnxModel,
    images: &OnnxInput,
    layout: Layout,
    options: &ImportOptions,
    folder: &Folder,
) -> Attempt {
    let one = |problem: String| vec![problem];
    let (view, batch) = layout::input(images, layout, options.side).map_err(one)?;
    let size = view.size;
    let mut importer = Importer::new(&model.graph, model.opset, folder, batch);
    importer.start(images.name, view);
    let problems = run(&mut importer, &model.graph);
    if !problems.is_empty() {
        return Err(problems);
    }
    let output = importer.output().map_err(one)?;
    let output = importer.whole(output).map_err(one)?;
    let output = match output {
        // A flattened image of one pixel is a vector, too.
        Value::Computed(view) if view.is_vector_in_order() => importer.vector(&view),
        Value::Computed(view) if view.is_image() => view.node,
        Value::Computed(view) => {
            let shape = view.dims();
            return Err(one(format!(
                "its output, {shape:?} for each image, has its numbers in another order"
            )));
        }
        _ => return Err(one("its output does not depend on the images".into())),
    };
    let mut notes = std::mem::take(&mut importer.notes);
    let nodes = reached(importer.nodes, output);
    let mut graph = Graph::of_nodes(nodes, Info::default());
    graph.check().map_err(|e| one(e.to_string()))?;
    graph.info = info(model, images, size, &graph, &mut notes).map_err(one)?;
    Ok((graph, notes))
}

/// The nodes that `output` depends on, and the input.
fn reached(nodes: Vec<Node>, output: NodeId) -> Vec<Node> {
    let mut live = vec![false; nodes.len()];
    (live[0], live[output]) = (true, true);
    for id in (0..nodes.len()).rev().filter(|&id| id <= output) {
        if live[id] {
            nodes[id].inputs.iter().for_each(|&input| live[input] = true);
        }
    }
    let (mut moved, mut kept) = (vec![0; nodes.len()], Vec::new());
    for (id, mut node) in nodes.into_iter().enumerate().filter(|&(id, _)| live[id]) {
        node.inputs.iter_mut().for_each(|input| *input = moved[*input]);
        moved[id] = kept.len();
        kept.push(node);
    }
    kept
}

/// What the network is made for: as lopper wrote it, or as far as the file says it.
fn info(
    model: &OnnxModel,
    images: &OnnxInput,
    size: [usize; 3],
    graph: &Graph,
    notes: &mut Vec<String>,
) -> std::result::Result<Info, String> {
    if let Some(text) = model.metadata.get(INFO) {
        let written = serde_json::from_str::<Info>(text).ok().filter(|info| info.input == size);
        match written {
            Some(info) => return Ok(info),
            None => notes.push(format!("its metadata entry `{INFO}` does not describe this network")),
        }
    }
    let [h, w, c] = size;
    let shapes = graph.shapes([1, h, w, c]).map_err(|e| e.to_string())?;
    let outputs = &shapes[graph.output()];
    let classes = if outputs.len() == 2 { outputs[1] } else { 0 };
    let bytes = images.element == element::UINT8;
    Ok(Info {
        arch: "onnx".into(),
        input: size,
        classes: (0..classes).map(|class| class.to_string()).collect(),
        mean: if bytes { vec![0.0; c] } else { Vec::new() },
        std: if bytes { vec![1.0 / 255.0; c] } else { Vec::new() },
        ..Info::default()
    })
}

/// Lists the first problems, and the number of further ones.
fn listing(problems: &[String]) -> String {
    let mut text = format!("not imported: {}", problems[..problems.len().min(SHOWN)].join("; "));
    if problems.len() > SHOWN {
        text += &format!("; and {} more", problems.len() - SHOWN);
    }
    text
}
