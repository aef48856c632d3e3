//! The rewrite: convolutions with dead channels become compact ones.

use super::CompactConfig;
use super::live::Live;
use crate::weights::require_copy;
use lopper_engine::channels::{Filters, constants};
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{Graph, Layer, Result};

/// Compacts every convolution that has dead channels and becomes smaller. The report gives the remaining size of each.
pub fn compact(graph: &Graph, config: &CompactConfig) -> Result<Rewrite> {
    config.check()?;
    let convs = graph.nodes().iter().filter(|node| matches!(node.layer, Layer::Conv2d(_)));
    config.lists().check("convolution", convs.map(|node| node.name.as_str()))?;
    require_copy(graph, "compact")?;
    let known = constants(graph)?;
    let mut rewrite = Rewrite { graph: graph.clone(), report: RewriteReport::new("compact") };
    for (id, node) in graph.nodes().iter().enumerate() {
        let Layer::Conv2d(conv) = &node.layer else { continue };
        if let Some(why) = config.lists().skips(&node.name) {
            rewrite.report.skipped(&node.name, why);
            continue;
        }
        if conv.groups > 1 {
            rewrite.report.skipped(&node.name, "grouped");
            continue;
        }
        let filters = Filters::of(&node.layer).expect("a convolution has filters");
        let live = Live::of(&filters, &known[node.inputs[0]], &known[id]);
        let (before, after) = (conv.weight.value().len(), live.weights(&filters));
        if live.everything(&filters) {
            rewrite.report.skipped(&node.name, "every channel is live");
        } else if after >= before || ((before - after) as f64) < config.min_saving * before as f64 {
            rewrite.report.skipped(&node.name, format!("{after} of {before} weights would stay"));
        } else {
            rewrite.report.changed(&node.name, live.summary(&filters));
            *rewrite.graph.layer_mut(id) = Layer::CompactConv2d(live.layer(conv, &filters));
        }
    }
    Ok(rewrite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bn, conv};
    use lopper_engine::Tensor;
    use lopper_engine::rewrite::Outcome;

    #[test]
    fn dead_filters_are_filled_and_constant_inputs_are_carried() {
        let mut g = Graph::new(1);
        g.info.input = [5, 5, 1];
        let a = g.push("a", conv(4, 3, 1, 1), &[0]).unwrap();
        let norm = g.push("bn", bn(4), &[a]).unwrap();
        let b = g.push("b", conv(3, 3, 4, 1), &[norm]).unwrap();
        g.push("grouped", conv(3, 3, 3, 3), &[b]).unwrap();
        let mask = Tensor::from_fn(&[4, 3, 3, 1], |i| f32::from(i / 9 >= 2));
        g.param_mut("a.weight").unwrap().set_mask(Some(mask)).unwrap();
        let compact = compact(&g, &CompactConfig::default()).unwrap();
        let outcomes: Vec<_> = compact.report.nodes.iter().map(|(_, outcome)| outcome.clone()).collect();
        assert_eq!(
            outcomes,
            [
                Outcome::Changed("2 of 4 filters, 1 of 1 inputs".into()),
                Outcome::Changed("3 of 3 filters, 2 of 4 inputs and a carrier".into()),
                Outcome::Skipped("grouped".into()),
            ]
        );
        let Layer::CompactConv2d(layer) = &compact.graph.nodes()[b].layer else { panic!("not compacted") };
        assert_eq!((layer.inputs.as_slice(), layer.in_width, layer.carrier), (&[2, 3][..], 4, true));
        assert_eq!(layer.conv.weight.value().shape(), [3, 3, 3, 3]);
    }

    #[test]
    fn what_saves_too_little_is_left_alone() {
        let mut g = Graph::new(1);
        g.info.input = [5, 5, 1];
        g.push("live", conv(4, 3, 1, 1), &[0]).unwrap();
        g.push("b", conv(4, 3, 4, 1), &[1]).unwrap();
        g.param_mut("b.weight").unwrap().update(|w| w[..36].fill(0.0));
        let config = CompactConfig { min_saving: 0.5, ..CompactConfig::default() };
        let compact = compact(&g, &config).unwrap();
        assert_eq!(compact.report.nodes[0].1, Outcome::Skipped("every channel is live".into()));
        assert_eq!(compact.report.nodes[1].1, Outcome::Skipped("108 of 144 weights would stay".into()));
        assert!(super::compact(&g, &CompactConfig { min_saving: 2.0, ..config }).is_err());
    }
}
