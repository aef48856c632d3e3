//! The layers of a network as a table.

use lopper_engine::cost::Cost;
use lopper_engine::{Graph, Node, Result};

/// A line for each layer: its output, parameters, multiply-accumulates, and the share of its weights that a mask keeps at
/// zero.
pub fn summary(graph: &Graph) -> Result<String> {
    let [h, w, c] = graph.info.input;
    let shapes = graph.shapes([1, h, w, c])?;
    let costs = graph.costs(graph.info.input)?;
    let width = graph.nodes().iter().map(|node| node.name.len()).max().unwrap_or(0).max(5);
    let line = |name: &str, kind: &str, output: &str, params: &str, macs: &str, note: &str| {
        format!("{name:width$}  {kind:17}  {output:>15}  {params:>12}  {macs:>10}{note}\n")
    };
    let figures = |cost: &Cost| (cost.params.to_string(), format!("{:.2}", cost.macs as f64 / 1e6));
    let mut text = line("layer", "kind", "output", "parameters", "MMACs", "");
    for ((node, shape), cost) in graph.nodes().iter().zip(&shapes).zip(&costs) {
        let output = shape[1..].iter().map(usize::to_string).collect::<Vec<_>>().join("×");
        let (params, macs) = figures(cost);
        text += &line(&node.name, node.layer.kind(), &output, &params, &macs, &masked(node));
    }
    let (params, macs) = figures(&costs.iter().copied().sum());
    Ok(text + &line("total", "", "", &params, &macs, ""))
}

fn masked(node: &Node) -> String {
    match node.layer.params().first().map_or(0.0, |(_, param)| param.masked_fraction()) {
        0.0 => String::new(),
        share => format!("  {:.1} % masked", 100.0 * share),
    }
}
