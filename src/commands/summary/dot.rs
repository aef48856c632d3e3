//! A picture of a network as Graphviz reads it (`dot -Tsvg x.dot`): a box for each layer, in the color of the channels that
//! it makes or passes on. Layers of one color lose channels together; gray ones lose none.

use lopper_engine::channels::{ChannelFlow, has_weight};
use lopper_engine::{Graph, NodeId};
use std::fmt::Write;

/// Most colors of one box, as where many groups are concatenated.
const MOST_COLORS: usize = 8;

/// The picture of `graph`, of channels `flow`, whose nodes have the output `shapes` for one image. `title` names it.
pub fn dot(title: &str, graph: &Graph, flow: &ChannelFlow, shapes: &[Vec<usize>]) -> String {
    let mut text = format!(
        "digraph {} {{\n  node [shape = box, fontname = \"Helvetica\", fontsize = 10];\n  edge [arrowsize = 0.6];\n",
        quoted(title)
    );
    let places = flow.places();
    for (id, node) in graph.nodes().iter().enumerate() {
        let groups = groups(flow, &places, id);
        let size = shapes[id][1..].iter().map(usize::to_string).collect::<Vec<_>>().join("×");
        let mut label = format!("{}\n{}\n{size}", node.name, node.layer.kind());
        if let (true, &[group]) = (has_weight(&node.layer), &groups[..]) {
            _ = write!(label, "\ngroup {}: {} channels", group + 1, flow.groups()[group].units.len());
        }
        // Several colors are stripes.
        let style = if groups.len() > 1 { "striped" } else { "filled" };
        let colors: Vec<String> = groups.iter().take(MOST_COLORS).map(|&group| color(flow, group)).collect();
        let colors = if colors.is_empty() { GRAY.to_string() } else { colors.join(":") };
        _ = writeln!(
            text,
            "  n{id} [label = {}, style = {style}, fillcolor = \"{colors}\"];",
            quoted(&label)
        );
        node.inputs.iter().for_each(|input| _ = writeln!(text, "  n{input} -> n{id};"));
    }
    text + "}\n"
}

/// The color of channels that cannot be removed.
const GRAY: &str = "#e0e0e0";

/// The groups whose channels `node` makes or passes on, in the order of its channels.
fn groups(flow: &ChannelFlow, places: &[Option<(usize, usize)>], node: NodeId) -> Vec<usize> {
    let mut groups = Vec::new();
    for (group, _) in flow.units(node).iter().filter_map(|&unit| places[unit]) {
        if groups.last() != Some(&group) && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

/// The color of a group, light enough for black letters. Hues go around by the golden ratio, so that neighbors differ.
fn color(flow: &ChannelFlow, group: usize) -> String {
    if flow.groups()[group].frozen.is_some() {
        return GRAY.into();
    }
    let hue = (group as f64 * 0.618_033_988_75).fract() * 6.0;
    // From hue to red, green and blue at a saturation of 0.4 and full brightness.
    let channel = |shift: f64| {
        let distance = ((hue + shift) % 6.0 - 3.0).abs() - 1.0;
        (255.0 * (0.6 + 0.4 * distance.clamp(0.0, 1.0))).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", channel(0.0), channel(4.0), channel(2.0))
}

/// `text` as a quoted string of the language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_models::{Builder, Conv};

    #[test]
    fn coupled_layers_have_one_color() {
        let mut net = Builder::new([8, 8, 3], Some(1));
        net.conv("stem", Conv::same(4, 3)).conv("a\"", Conv::same(4, 3)).relu("relu");
        net.adaptive_avg_pool("pool", 1).flatten("flatten").linear("fc", 2);
        let graph = net.finish().unwrap();
        let flow = ChannelFlow::new(&graph).unwrap();
        let shapes = graph.shapes([1, 8, 8, 3]).unwrap();
        let text = dot("net", &graph, &flow, &shapes);
        let line = |name: &str| text.lines().find(|line| line.contains(&format!("\"{name}\\n"))).unwrap();
        let color = |name: &str| line(name).rsplit_once("fillcolor").unwrap().1;
        assert_eq!(color("a\\\""), color("relu"));
        assert_eq!(color("a\\\""), color("flatten"));
        assert_ne!(color("stem"), color("relu"));
        assert!(color("fc").contains(GRAY) && color("input").contains(GRAY), "{text}");
        assert!(line("stem").contains("stem\\nconv2d\\n8×8×4\\ngroup 1: 4 channels"), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("->")).count(), graph.nodes().len() - 1);
        assert!(text.starts_with("digraph \"net\" {") && text.ends_with("}\n"));
    }

    #[test]
    fn hues_become_colors() {
        // The first group is red: full red, and as much green and blue as the saturation leaves.
        let mut net = Builder::new([4, 4, 1], Some(1));
        net.conv("a", Conv::same(2, 1)).conv("b", Conv::same(2, 1));
        let graph = net.finish().unwrap();
        let flow = ChannelFlow::new(&graph).unwrap();
        assert_eq!(color(&flow, 0), "#ff9999");
        assert_eq!(color(&flow, 1), GRAY, "it makes the output");
    }
}
