//! `lopper summary ARCH|MODEL`.

use super::{Common, classes, open_network};
use clap::Args;
use lopper_engine::cost::Cost;
use lopper_engine::{Graph, Layer, Result};
use lopper_models::data::thousands;
use serde::Serialize;

/// List layers, shapes, parameters, multiply-accumulates and bytes.
#[derive(Args)]
pub struct Summary {
    /// An architecture (`lopper summary help` lists them) or a model file
    network: String,
    /// Number of classes of an architecture [default: 10]
    #[arg(long, value_parser = classes())]
    classes: Option<u32>,
    /// Side of the square image in pixels [default: the model's, or 128]
    #[arg(long, value_parser = super::image_side)]
    size: Option<usize>,
}

#[derive(Serialize)]
struct Line {
    layer: String,
    kind: &'static str,
    output: Vec<usize>,
    params: u64,
    sparsity: f64,
    macs: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Totals {
    network: String,
    layers: Vec<Line>,
    params: u64,
    macs: u64,
    bytes: u64,
}

impl Summary {
    pub fn run(&self, common: &Common) -> Result<()> {
        if self.network == "help" {
            let names: Vec<&str> = lopper_models::names().collect();
            return common.print(&names, || names.join("\n"));
        }
        let graph = open_network(&self.network, self.classes, self.size.unwrap_or(128), None)?;
        let totals = totals(&self.network, &graph, self.size)?;
        common.print(&totals, || text(&totals))
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
        macs: total.macs,
        bytes: total.bytes,
    })
}

/// Returns the share of a layer's weight that its mask keeps at zero.
fn sparsity(layer: &Layer) -> f64 {
    layer.params().first().map_or(0.0, |(_, p)| p.masked_fraction())
}

fn text(totals: &Totals) -> String {
    let masked = totals.layers.iter().any(|l| l.sparsity > 0.0);
    let name = totals.layers.iter().map(|l| l.layer.len()).max().unwrap_or(0).max(5);
    let mut text = format!(
        "{:name$}  {:17}  {:>15}  {:>13}  {:>10}  {:>10}\n",
        "layer", "kind", "output", "parameters", "MMACs", "kB"
    );
    let mut line =
        |name_of: &str, kind: &str, output: &str, params: u64, macs: u64, bytes: u64, sparsity: f64| {
            let note = if masked && sparsity > 0.0 {
                format!("  {:.1} % masked", 100.0 * sparsity)
            } else {
                String::new()
            };
            let (params, macs, bytes) = (thousands(params), macs as f64 / 1e6, thousands(bytes / 1000));
            text += &format!(
                "{name_of:name$}  {kind:17}  {output:>15}  {params:>13}  {macs:>10.2}  {bytes:>10}{note}\n"
            );
        };
    for l in &totals.layers {
        let output = l.output.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
        line(&l.layer, l.kind, &output, l.params, l.macs, l.bytes, l.sparsity);
    }
    line("total", "", "", totals.params, totals.macs, totals.bytes, 0.0);
    if masked {
        text += "masked weights are stored as zeros, so the file is as large as that of the dense network; prune removes \
                 channels\n";
    }
    text
}
