//! Softmax inside a network: over the channels of each pixel, or over all values of an image.

use crate::by_hand::{integer, list, node, of_version};
use lopper_engine::onnx::{ImportOptions, import};
use lopper_engine::{Device, Graph, Result};
use lopper_kernels::reference;
use lopper_models::init;

/// Reads the file of these nodes, operators of version `opset`, whose input `x` is an image of 4 channels and 3×2 pixels.
fn read(opset: i64, graph: &[Vec<u8>]) -> Result<Graph> {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    std::fs::write(file.path(), of_version(opset, graph, [1, 4, 3, 2])).unwrap();
    import(file.path(), &ImportOptions::default()).map(|imported| imported.graph)
}

fn kinds(graph: &Graph) -> Vec<&str> {
    graph.nodes().iter().map(|node| node.layer.kind()).collect()
}

/// Asserts that the file consists of layers of these kinds, and takes the softmax of rows of `k` numbers, or its logarithm.
#[track_caller]
fn assert_softmax(opset: i64, graph: &[Vec<u8>], expected: &[&str], k: usize) {
    let network = read(opset, graph).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(kinds(&network), expected);
    let images = init::normal(3, "images", &[2, 3, 2, 4], 2.0);
    let found = network.logits(&Device::cpu(), images.clone()).unwrap();
    let x: Vec<f64> = images.data().iter().map(|&x| x.into()).collect();
    let mut y = vec![0.0; x.len()];
    match expected.contains(&"log softmax") {
        true => reference::log_softmax_forward(x.len() / k, k, &x, &mut y),
        false => reference::softmax_forward(x.len() / k, k, &x, &mut y),
    }
    for (found, expected) in found.data().iter().zip(y) {
        assert!((f64::from(*found) - expected).abs() <= 1e-6, "{found}, expected {expected}");
    }
}

/// A softmax of the operator `op` along `axis`.
fn softmax(op: &str, axis: i64, [x, y]: [&str; 2]) -> Vec<u8> {
    node(op, &[x], y, &integer("axis", axis))
}

#[test]
fn the_channels_of_each_pixel_are_a_row() {
    assert_softmax(13, &[softmax("Softmax", 1, ["x", "y"])], &["input", "softmax"], 4);
    assert_softmax(13, &[softmax("LogSoftmax", -3, ["x", "y"])], &["input", "log softmax"], 4);
}

/// A transposition moves no number here, so the last axis is the channels.
#[test]
fn channels_may_be_the_last_axis() {
    let last = node("Transpose", &["x"], "t", &list("perm", &[0, 2, 3, 1]));
    let first = node("Transpose", &["s"], "y", &list("perm", &[0, 3, 1, 2]));
    let by_default = node("Softmax", &["t"], "s", &[]);
    assert_softmax(13, &[last.clone(), by_default, first.clone()], &["input", "softmax"], 4);
    // That is what lopper writes before version 13.
    assert_softmax(11, &[last, softmax("Softmax", 3, ["t", "s"]), first], &["input", "softmax"], 4);
}

/// Before version 13, a softmax is taken over all axes from the given one on, by default the first behind the batch.
#[test]
fn an_early_softmax_is_taken_over_the_whole_image() {
    let flat = ["input", "flatten", "log softmax"];
    assert_softmax(11, &[node("LogSoftmax", &["x"], "y", &[])], &flat, 24);
}

#[test]
fn a_flattened_image_is_one_row_and_keeps_its_order() {
    let flatten = node("Flatten", &["x"], "f", &[]);
    // The layer behind it reads the values in ONNX's order.
    let graph = [flatten, softmax("Softmax", 1, ["f", "s"]), node("Relu", &["s"], "y", &[])];
    let network = read(13, &graph).unwrap();
    assert_eq!(kinds(&network), ["input", "flatten", "softmax", "relu", "gather"]);
}

#[test]
fn the_last_softmax_of_a_classifier_is_left_out() {
    let pool = node("GlobalAveragePool", &["x"], "p", &[]);
    let flatten = node("Flatten", &["p"], "f", &[]);
    let network = read(13, &[pool, flatten, softmax("Softmax", -1, ["f", "y"])]).unwrap();
    assert!(!kinds(&network).contains(&"softmax"), "{:?}", kinds(&network));
}

#[test]
fn other_axes_are_refused() {
    for (opset, axis, reason) in [
        (13, 2, "is not taken over the channels, or over all values of an image"),
        (13, -1, "is not taken over the channels, or over all values of an image"),
        (11, 2, "is not taken over the channels, or over all values of an image"),
        (13, 0, "is taken over axis 0 of 4, expected one behind the batch"),
        (13, 4, "is taken over axis 4 of 4, expected one behind the batch"),
        (13, i64::MIN, "expected one behind the batch"),
    ] {
        let message = read(opset, &[softmax("Softmax", axis, ["x", "y"])]).expect_err("refused").to_string();
        assert!(message.contains(reason), "{message}");
    }
}
