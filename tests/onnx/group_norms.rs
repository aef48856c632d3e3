//! Group norms as ONNX files have them: as operators of their own, and as the nodes that PyTorch writes.

use crate::by_hand::{floats, integer, integers, list, node, of_images};
use lopper_engine::onnx::{ImportOptions, import};
use lopper_engine::{Device, Graph, Layer, Result};
use lopper_kernels::reference;
use lopper_kernels::shapes::GroupNorm;
use lopper_models::init;

/// Reads the file with these nodes and constants, whose input `x` is an image of 4 channels and 3×2 pixels.
fn read(graph: &[Vec<u8>]) -> Result<Graph> {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    std::fs::write(file.path(), of_images(graph, [1, 4, 3, 2])).unwrap();
    import(file.path(), &ImportOptions::default()).map(|imported| imported.graph)
}

/// The reason why the file is refused.
fn refusal(graph: &[Vec<u8>]) -> String {
    read(graph).expect_err("refused").to_string()
}

/// Asserts that the file is a group norm of `groups` groups called `name`, which scales by `gamma` and shifts by `beta`.
#[track_caller]
fn assert_norm(graph: &[Vec<u8>], name: &str, groups: usize, [gamma, beta]: [&[f32]; 2]) {
    let network = read(graph).unwrap_or_else(|e| panic!("{e}"));
    let [_, node] = network.nodes() else { panic!("{:?}", network.nodes()) };
    let Layer::GroupNorm(norm) = &node.layer else { panic!("{:?}", node.layer) };
    assert_eq!((node.name.as_str(), norm.groups, norm.eps), (name, groups, 1e-5));
    assert_eq!((norm.weight.value().data(), norm.bias.value().data()), (gamma, beta));
    let images = init::normal(3, "images", &[2, 3, 2, 4], 1.0);
    let found = network.logits(&Device::cpu(), images.clone()).unwrap();
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let g = GroupNorm { n: 2, pixels: 6, c: 4, groups, eps: 1e-5 };
    let mut expected = vec![0.0; g.len()];
    reference::group_norm_forward(&g, &wide(images.data()), [&wide(gamma), &wide(beta)], &mut expected);
    for (found, expected) in found.data().iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() <= 1e-5, "{found}, expected {expected}");
    }
}

const GAMMA: [f32; 4] = [0.5, -1.0, 2.0, 1.5];
const BETA: [f32; 4] = [0.25, 0.0, -0.5, 1.0];

/// The constants `norm.weight` and `norm.bias` of these dimensions.
fn affine(dims: &[usize], gamma: &[f32], beta: &[f32]) -> [Vec<u8>; 2] {
    [floats("norm.weight", dims, gamma), floats("norm.bias", dims, beta)]
}

#[test]
fn an_instance_norm_has_a_group_for_each_channel() {
    let y = node("InstanceNormalization", &["x", "norm.weight", "norm.bias"], "y", &[]);
    let [weight, bias] = affine(&[4], &GAMMA, &BETA);
    assert_norm(&[weight, bias, y], "norm", 4, [&GAMMA, &BETA]);
}

/// Since version 21 there is a parameter for each channel, in version 18 there was one for each group.
#[test]
fn parameters_may_be_those_of_groups() {
    let y = || node("GroupNormalization", &["x", "norm.weight", "norm.bias"], "y", &integer("num_groups", 2));
    let [weight, bias] = affine(&[4], &GAMMA, &BETA);
    assert_norm(&[weight, bias, y()], "norm", 2, [&GAMMA, &BETA]);
    let [weight, bias] = affine(&[2], &[2.0, -1.0], &[0.5, 0.25]);
    assert_norm(&[weight, bias, y()], "norm", 2, [&[2.0, 2.0, -1.0, -1.0], &[0.5, 0.5, 0.25, 0.25]]);
    let [weight, bias] = affine(&[3], &[1.0; 3], &[0.0; 3]);
    assert!(refusal(&[weight, bias, y()]).contains("a number for each of 4 channels or 2 groups"));
    for groups in [0, 3] {
        let [weight, bias] = affine(&[4], &GAMMA, &BETA);
        let y = node(
            "GroupNormalization",
            &["x", "norm.weight", "norm.bias"],
            "y",
            &integer("num_groups", groups),
        );
        assert!(refusal(&[weight, bias, y]).contains(&format!("divides 4 channels into {groups} groups")));
    }
}

/// The nodes of PyTorch's `nn.GroupNorm` before version 21, with the shape `rows` of the groups.
fn pytorch(groups: usize, rows: &[i64], between: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let [weight, bias] = affine(&[4, 1, 1], &GAMMA, &BETA);
    let normalized = if between.is_empty() { "n" } else { "b" };
    let nodes = vec![
        integers("rows", rows),
        floats("ones", &[groups], &vec![1.0; groups]),
        floats("zeros", &[groups], &vec![0.0; groups]),
        weight,
        bias,
        node("Reshape", &["x", "rows"], "r", &[]),
        node("InstanceNormalization", &["r", "ones", "zeros"], "n", &[]),
        node("Shape", &["x"], "shape", &[]),
        node("Reshape", &[normalized, "shape"], "image", &[]),
        node("Mul", &["image", "norm.weight"], "scaled", &[]),
        node("Add", &["scaled", "norm.bias"], "y", &[]),
    ];
    [&nodes[..7], between, &nodes[7..]].concat()
}

#[test]
fn the_nodes_of_pytorch_are_one_norm() {
    for (groups, rows) in
        [(1, vec![0, 1, -1]), (2, vec![0, 2, -1]), (2, vec![0, 2, 2, 3, 2]), (4, vec![0, 4, -1])]
    {
        assert_norm(&pytorch(groups, &rows, &[]), "norm", groups, [&GAMMA, &BETA]);
    }
}

/// Groups of channels are a value of their own, which no other operator reads.
#[test]
fn what_stands_between_the_nodes_is_refused() {
    let relu = node("Relu", &["n"], "b", &[]);
    let message = refusal(&pytorch(2, &[0, 2, -1], &[relu]));
    assert!(message.contains("of which only a shuffle and a group norm are understood"), "{message}");
    let swap = node("Transpose", &["n"], "b", &list("perm", &[0, 2, 1]));
    let message = refusal(&pytorch(2, &[0, 2, -1], &[swap]));
    assert!(message.contains("of which only a shuffle and a group norm are understood"), "{message}");
}

/// Parameters that follow a norm that has some already are a layer of their own.
#[test]
fn a_second_scale_is_another_layer() {
    let [weight, bias] = affine(&[4], &GAMMA, &BETA);
    let twice = floats("twice", &[4, 1, 1], &[2.0, 3.0, 4.0, 5.0]);
    let norm = node("InstanceNormalization", &["x", "norm.weight", "norm.bias"], "n", &[]);
    let network = read(&[weight, bias, twice, norm, node("Mul", &["n", "twice"], "y", &[])]).unwrap();
    let kinds: Vec<_> = network.nodes().iter().map(|node| node.layer.kind()).collect();
    assert_eq!(kinds, ["input", "instance norm", "grouped conv2d"]);
}

#[test]
fn other_axes_than_the_channels_are_refused() {
    let [weight, bias] = [floats("w", &[3], &[1.0; 3]), floats("b", &[3], &[0.0; 3])];
    let last = node("Transpose", &["x"], "t", &list("perm", &[0, 2, 3, 1]));
    let norm = node("InstanceNormalization", &["t", "w", "b"], "y", &[]);
    let message = refusal(&[weight, bias, last, norm]);
    assert!(message.contains("along an axis that is not the channels"), "{message}");
}
