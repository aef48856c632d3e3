//! Softmax inside a network: over the channels of each pixel, or over all values of an image.

use crate::by_hand::{floats, integer, list, node, of_version};
use lopper_engine::onnx::{ImportOptions, import};
use lopper_engine::{Device, Graph, Result};
use lopper_kernels::reference;
use lopper_models::init;

/// Reads the file of these nodes, operators of version `opset`, whose input `x` is an image of 4 channels and 3×7 pixels.
fn read(opset: i64, graph: &[Vec<u8>]) -> Result<Graph> {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    std::fs::write(file.path(), of_version(opset, graph, [1, 4, 3, 7])).unwrap();
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
    let images = init::normal(3, "images", &[2, 3, 7, 4], 2.0);
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

/// Before version 13, a softmax is taken over all axes from the given one on, by default the first behind the batch. Features
/// in ONNX's order have the same sum.
#[test]
fn a_whole_image_is_one_row() {
    let weight = floats("w", &[2, 84], &(0..168).map(|i| (i % 13) as f32 - 6.0).collect::<Vec<_>>());
    let flatten = |x: &str, y: &str| node("Flatten", &[x], y, &[]);
    let product = |x: &str| node("Gemm", &[x, "w"], "y", &integer("transB", 1));
    let early = [weight.clone(), node("Softmax", &["x"], "s", &[]), flatten("s", "f"), product("f")];
    let late = [weight, flatten("x", "f"), softmax("Softmax", 1, ["f", "s"]), product("s")];
    let images = init::normal(3, "images", &[2, 3, 7, 4], 2.0);
    let logits = [(11, &early), (13, &late)].map(|(opset, graph)| {
        let network = read(opset, graph).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(kinds(&network), ["input", "flatten", "softmax", "linear"]);
        network.logits(&Device::cpu(), images.clone()).unwrap()
    });
    assert!(logits[0].same_bits(&logits[1]));
    for (image, row) in images.data().chunks(84).zip(logits[0].data().chunks(2)) {
        let total: f64 = image.iter().map(|&x| f64::from(x).exp()).sum();
        for (class, found) in row.iter().enumerate() {
            // ONNX has the channels first.
            let share = |i: usize| f64::from(image[i % 21 * 4 + i / 21]).exp() / total;
            let expected: f64 = (0..84).map(|i| share(i) * (((class * 84 + i) % 13) as f64 - 6.0)).sum();
            assert!((f64::from(*found) - expected).abs() <= 1e-5, "{found}, expected {expected}");
        }
    }
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
        (11, 2, "is not taken over the channels, or over all values of an image"),
        (13, 0, "is taken over axis 0 of 4, expected one behind the batch"),
        (13, 4, "is taken over axis 4 of 4, expected one behind the batch"),
        (13, i64::MIN, "expected one behind the batch"),
    ] {
        let message = read(opset, &[softmax("Softmax", axis, ["x", "y"])]).expect_err("refused").to_string();
        assert!(message.contains(reason), "{message}");
    }
}
