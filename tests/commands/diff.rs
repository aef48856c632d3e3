//! `lopper diff` names the layer where two networks part, also if pruning changed the widths between them.

use crate::support::command::{lopper, text};
use crate::support::masks::{random_plan, sparse};
use crate::support::random_graph::values::randomize;
use lopper_compress::prune::{Constants, PrunePlan, prune};
use lopper_compress::{PruneConfig, fold};
use lopper_engine::layer::Layer;
use lopper_engine::{Graph, file};
use lopper_models::{Options, build, numbered_classes};
use std::path::{Path, PathBuf};

/// ResNet-8 with random weights and statistics.
fn network() -> Graph {
    let mut graph = build("resnet8", &Options::new(numbered_classes(10), [32, 32, 3])).unwrap();
    randomize(&mut graph, 5);
    graph
}

fn saved(graph: &Graph, dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(format!("{name}.safetensors"));
    file::save(graph, &path).unwrap();
    path
}

/// The output of comparing two files, and whether they count as equal.
fn diff(a: &Path, b: &Path) -> (serde_json::Value, bool) {
    let run = lopper(&["diff", text(a), text(b), "--json"]);
    assert!(matches!(run.status, Some(0 | 1)), "{}", run.err);
    (serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {}", run.err)), run.status == Some(0))
}

/// `graph` with the weights of `layer` half as large again.
fn changed(graph: &Graph, layer: &str) -> Graph {
    let mut graph = graph.clone();
    let weight = graph.param_mut(&format!("{layer}.weight")).unwrap();
    weight.update(|weights| weights.iter_mut().for_each(|w| *w *= 1.5));
    graph
}

#[test]
fn the_layer_that_was_changed_is_named_in_both_orders() {
    let dir = tempfile::tempdir().unwrap();
    let dense = network();
    let masked = sparse(&dense, &random_plan(&dense, 3));
    let pruned = prune(&masked, &PrunePlan::dead(&masked).unwrap(), Constants::Exact).unwrap().graph;
    let folded = fold(&pruned).unwrap().graph;
    assert!(folded.param_count() < dense.param_count());
    let reference = saved(&masked, dir.path(), "masked");
    let (found, equal) = diff(&reference, &saved(&folded, dir.path(), "folded"));
    assert!(equal && found["first_layer_that_differs"].is_null(), "{found}");
    assert_eq!(found["widths"]["layer"], "conv1", "{found}");
    let layers =
        pruned.nodes().iter().filter(|node| matches!(node.layer, Layer::Conv2d(_) | Layer::Linear(_)));
    for layer in layers.map(|node| node.name.as_str()) {
        let other = saved(&changed(&pruned, layer), dir.path(), "changed");
        for (a, b) in [(&reference, &other), (&other, &reference)] {
            let (found, equal) = diff(a, b);
            assert!(!equal && found["first_layer_that_differs"] == layer, "{layer}: {found}");
            let ([first, second], [narrow, wide]) = (
                ["first", "second"].map(|side| found["widths"][side].as_u64()),
                if a == &other { [0, 1] } else { [1, 0] },
            );
            let widths = [first, second];
            assert!(widths[narrow] < widths[wide], "{found}");
        }
    }
}

/// The layer that reads the channels is the first whose values differ.
#[test]
fn live_channels_that_were_removed_are_missed_by_their_reader() {
    let dir = tempfile::tempdir().unwrap();
    let dense = network();
    let config = PruneConfig {
        criterion: Some("random".parse().unwrap()),
        fraction: Some(0.5),
        include: vec!["layer2.0.conv1".into()],
        ..PruneConfig::default()
    };
    let pruned = saved(&config.apply(&dense, None).unwrap().graph, dir.path(), "pruned");
    let dense = saved(&dense, dir.path(), "dense");
    for (a, b) in [(&dense, &pruned), (&pruned, &dense)] {
        let (found, equal) = diff(a, b);
        assert!(!equal && found["widths"]["layer"] == "layer2.0.conv1", "{found}");
        assert_eq!(found["first_layer_that_differs"], "layer2.0.conv2", "{found}");
    }
    let run = lopper(&["diff", text(&dense), text(&pruned)]);
    run.refused(&["differ by more than"]);
    assert!(run.out.contains("it starts at layer `layer2.0.conv2`"), "{}", run.out);
    assert!(run.out.contains("widths differ from layer `layer2.0.conv1` on"), "{}", run.out);
}

/// Outputs correspond whatever they are called.
#[test]
fn a_factorized_output_layer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dense = network();
    let dense_file = saved(&dense, dir.path(), "dense");
    let split = dir.path().join("split.safetensors");
    let factorize =
        ["factorize", text(&dense_file), "--fraction", "0.5", "--even-if-larger", "--conv", "none"];
    lopper(&[&factorize[..], &["--out", text(&split)]].concat()).succeeded();
    assert_eq!(diff(&dense_file, &split).0["first_layer_that_differs"], "fc");
    assert_eq!(diff(&split, &dense_file).0["first_layer_that_differs"], "fc.1");
}
