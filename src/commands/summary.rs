//! `lopper summary ARCH|MODEL`.

mod dot;
mod groups;

use super::train::parse_head;
use super::{Common, classes, is_file, open_network};
use crate::output_file::refuse_existing;
use crate::tables::put;
use clap::Args;
use groups::{ChannelGroup, channel_groups};
use lopper_engine::certificate::Certificate;
use lopper_engine::channels::ChannelFlow;
use lopper_engine::cost::Cost;
use lopper_engine::train::{Freezing, Layers};
use lopper_engine::{Error, Graph, Layer, Result};
use lopper_models::data::thousands;
use lopper_models::{Head, Options};
use serde::Serialize;
use std::path::PathBuf;

/// List layers, shapes, parameters, multiply-accumulates and bytes.
#[derive(Args)]
pub struct Summary {
    /// An architecture (`lopper summary help` lists them) or a model file
    network: String,
    /// Number of classes of an architecture [default: 10]
    #[arg(long, value_parser = classes())]
    classes: Option<u32>,
    /// Classifier of an architecture: own or fastai [default: own]
    #[arg(long, value_parser = parse_head)]
    head: Option<Head>,
    /// Count trainable parameters with these layers frozen: body, head or patterns of layer names, separated by commas
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    freeze: Vec<Layers>,
    /// Side of the square image in pixels [default: the model's, or 128]
    #[arg(long, value_parser = super::image_side)]
    size: Option<usize>,
    /// List the groups of channels that are removed together: the layers that make them and those that read them
    #[arg(long)]
    groups: bool,
    /// Write a picture of the network for Graphviz to this file, with a color for each group of channels [default: none]
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// Overwrite the picture if it exists
    #[arg(long, requires = "dot")]
    force: bool,
}

#[derive(Serialize)]
struct Line {
    layer: String,
    kind: &'static str,
    output: Vec<usize>,
    params: u64,
    trainable: u64,
    sparsity: f64,
    macs: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Totals {
    network: String,
    layers: Vec<Line>,
    params: u64,
    trainable: u64,
    macs: u64,
    bytes: u64,
    /// What the techniques that made the network claim about its function.
    certificates: Vec<Certificate>,
    /// The channels that are removed together, if they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<ChannelGroup>>,
}

impl Summary {
    pub fn run(&self, common: &Common) -> Result<()> {
        if self.network == "help" {
            let names: Vec<&str> = lopper_models::names().collect();
            return common.print(&names, || names.join("\n"));
        }
        self.dot.iter().try_for_each(|path| refuse_existing(path, self.force))?;
        let mut graph = self.open()?;
        let freezing = Freezing::new(self.freeze.clone(), Vec::new());
        freezing.check(&graph)?;
        // It is only counted, so it stays frozen.
        let _ = freezing.freeze_at_start(&mut graph)?;
        let mut totals = totals(&self.network, &graph, self.size)?;
        if self.groups || self.dot.is_some() {
            let flow = ChannelFlow::new(&graph)?;
            totals.groups = self.groups.then(|| channel_groups(&graph, &flow));
            if let Some(path) = &self.dot {
                let [h, w, c] = graph.info.input;
                let [h, w] = self.size.map_or([h, w], |side| [side; 2]);
                let picture = dot::dot(&self.network, &graph, &flow, &graph.shapes([1, h, w, c])?);
                put(path, picture.as_bytes())?;
            }
        }
        common.print(&totals, || text(&totals, !self.freeze.is_empty()))
    }

    fn open(&self) -> Result<Graph> {
        let size = self.size.unwrap_or(128);
        let Some(head) = self.head else {
            return open_network(&self.network, self.classes, size, None);
        };
        if is_file(&self.network) {
            return Err(Error::file(&self.network, "--head applies to architectures only"));
        }
        let classes = lopper_models::numbered_classes(self.classes.unwrap_or(10) as usize);
        let options = Options { head, seed: None, ..Options::new(classes, [size, size, 3]) };
        lopper_models::build(&self.network, &options)
    }
}

fn totals(network: &str, graph: &Graph, size: Option<usize>) -> Result<Totals> {
    let [h, w, c] = graph.info.input;
    let image = size.map_or([h, w, c], |s| [s, s, c]);
    let shapes = graph.shapes([1, image[0], image[1], image[2]])?;
    let costs = graph.costs(image)?;
    let line = |((node, shape), cost): ((&lopper_engine::Node, Vec<usize>), &Cost)| Line {
        layer: node.name.clone(),
        kind: node.layer.kind(),
        output: shape[1..].to_vec(),
        params: cost.params,
        trainable: trainable(&node.layer),
        sparsity: sparsity(&node.layer),
        macs: cost.macs,
        bytes: cost.bytes,
    };
    let layers = graph.nodes().iter().zip(shapes).zip(&costs).map(line).collect();
    let total: Cost = costs.iter().copied().sum();
    Ok(Totals {
        network: network.to_string(),
        layers,
        params: total.params,
        trainable: graph.trainable_count(),
        macs: total.macs,
        bytes: total.bytes,
        certificates: graph.info.certificates.clone(),
        groups: None,
    })
}

/// Returns the number of a layer's parameters that optimizers update.
fn trainable(layer: &Layer) -> u64 {
    layer.params().iter().filter(|(_, p)| p.trainable).map(|(_, p)| p.value().len() as u64).sum()
}

/// Returns the share of a layer's weight that its mask keeps at zero.
fn sparsity(layer: &Layer) -> f64 {
    layer.params().first().map_or(0.0, |(_, p)| p.masked_fraction())
}

/// Formats the table. `frozen` adds a column of trainable parameters, as do layers that are not trainable.
fn text(totals: &Totals, frozen: bool) -> String {
    let frozen = frozen || totals.trainable != totals.params;
    let name = totals.layers.iter().map(|l| l.layer.len()).max().unwrap_or(0).max(5);
    let line = |cells: [&str; 7], note: &str| {
        let [name_of, kind, output, params, trainable, macs, bytes] = cells;
        let trainable = if frozen { format!("  {trainable:>13}") } else { String::new() };
        format!(
            "{name_of:name$}  {kind:17}  {output:>15}  {params:>13}{trainable}  {macs:>10}  {bytes:>10}{note}\n"
        )
    };
    let figures = |params: u64, trainable: u64, macs: u64, bytes: u64| {
        let macs = format!("{:.2}", macs as f64 / 1e6);
        [thousands(params), thousands(trainable), macs, thousands(bytes / 1000)]
    };
    let mut text = line(["layer", "kind", "output", "parameters", "trainable", "MMACs", "kB"], "");
    for l in &totals.layers {
        let output = l.output.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
        let [params, trainable, macs, bytes] = &figures(l.params, l.trainable, l.macs, l.bytes);
        let note = match l.sparsity {
            0.0 => String::new(),
            sparsity => format!("  {:.1} % masked", 100.0 * sparsity),
        };
        text += &line([&l.layer, l.kind, &output, params, trainable, macs, bytes], &note);
    }
    let [params, trainable, macs, bytes] =
        &figures(totals.params, totals.trainable, totals.macs, totals.bytes);
    text += &line(["total", "", "", params, trainable, macs, bytes], "");
    if totals.layers.iter().any(|layer| layer.sparsity > 0.0) {
        text += "masked weights are stored as zeros, so the file is as large as that of the dense network; prune removes \
                 channels\n";
    }
    text += &totals.groups.as_deref().map_or(String::new(), groups::text);
    for (i, certificate) in totals.certificates.iter().enumerate() {
        text += &format!("{}{}. {certificate}\n", if i == 0 { "\ncertificates\n" } else { "" }, i + 1);
    }
    text
}
