//! A layer norm counts the channels that pruning removed from it, and so does the formula that is written.

use crate::runtime::{compressed, small};
use crate::support::random_graph::relative_difference;
use lopper_engine::layer::LayerNorm;
use lopper_engine::onnx::{ImportOptions, MAX_OPSET, MIN_OPSET, OnnxOptions, export, import};
use lopper_engine::{Device, Graph, Layer, Tensor};
use lopper_models::init;
use std::collections::BTreeMap;

/// The layer norms of `graph` by name.
fn norms(graph: &Graph) -> BTreeMap<&str, &LayerNorm> {
    let found = graph.nodes().iter().filter_map(|node| match &node.layer {
        Layer::LayerNorm(norm) => Some((node.name.as_str(), norm)),
        _ => None,
    });
    found.collect()
}

fn logits(graph: &Graph) -> Tensor {
    let [h, w, c] = graph.info.input;
    graph.logits(&Device::cpu(), init::normal(5, "images", &[2, h, w, c], 1.0)).unwrap()
}

fn again(graph: &Graph, opset: u32) -> Graph {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    export(graph, file.path(), &OnnxOptions { opset, ..OnnxOptions::default() }).unwrap();
    import(file.path(), &ImportOptions::default()).unwrap_or_else(|e| panic!("opset {opset}: {e}")).graph
}

#[test]
fn pruned_layer_norms_are_read_as_they_were() {
    let mut removed = 0;
    for (technique, graph) in compressed(&small("convnext_tiny", 6), 6) {
        // A compact convolution is written as a dense one, or in parts that are no layers.
        if technique == "compact" {
            continue;
        }
        for opset in [MIN_OPSET, 16, 17, 18, MAX_OPSET] {
            let read = again(&graph, opset);
            let place = format!("{technique}, opset {opset}");
            assert_eq!(norms(&graph).len(), norms(&read).len(), "{place}");
            for ((name, ours), (read_name, theirs)) in norms(&graph).into_iter().zip(norms(&read)) {
                assert_eq!((name, ours.width, ours.eps), (read_name, theirs.width, theirs.eps), "{place}");
                let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs();
                assert!(near(ours.sum, theirs.sum) && near(ours.squares, theirs.squares), "{place}, {name}");
                for (a, b) in [(&ours.weight, &theirs.weight), (&ours.bias, &theirs.bias)] {
                    assert!(a.value().same_bits(b.value()), "{place}, {name}");
                }
                removed += ours.width - ours.channels();
            }
            let difference = relative_difference(&logits(&graph), &logits(&read));
            assert!(difference <= 1e-5, "{place}: {difference}");
            // Single precision rounds the sums once.
            assert!(logits(&read).same_bits(&logits(&again(&read, opset))), "{place}");
        }
    }
    assert!(removed > 0, "no layer norm lost a channel");
}
