//! ONNX files with what lopper does not write itself: numbers computed of constants or held by another file, quantized numbers,
//! parts and views of images, formulas of several nodes.

use crate::by_hand::{bytes, floats, integer, integers, list, node, of_type, of_version, varint};
use crate::targets::DATA;

const FLOAT: i64 = 1;
const UINT8: i64 = 2;
const INT8: i64 = 3;
const INT64: i64 = 7;

/// The files by name. The input of each is `x` `[1, 2, 4, 4]`, the output `y`.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    [
        ("external", 13, external()),
        ("computed", 13, computed()),
        ("quantized", 13, quantized()),
        ("views", 17, views()),
        ("pools", 13, pools()),
        ("formulas", 17, formulas()),
        ("activations", 20, activations()),
        ("pytorch-norm", 17, pytorch_norm()),
    ]
    .map(|(name, opset, graph)| (name.to_string(), of_version(opset, &graph, [1, 2, 4, 4])))
    .into()
}

/// The attribute `name` of a node, a number.
fn float(name: &str, value: f32) -> Vec<u8> {
    let number = [varint(2 << 3 | 5), value.to_le_bytes().to_vec()].concat();
    bytes(5, &[bytes(1, name.as_bytes()), number, integer_field(20, 1)].concat())
}

/// The attribute `name` of a node, a text.
fn text(name: &str, value: &str) -> Vec<u8> {
    bytes(5, &[bytes(1, name.as_bytes()), bytes(4, value.as_bytes()), integer_field(20, 3)].concat())
}

fn integer_field(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A node without attributes.
fn op(kind: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    node(kind, inputs, output, &[])
}

/// An integer without axes.
fn scalar(name: &str, value: i64) -> Vec<u8> {
    of_type(INT64, name, &[], &bytes(9, &value.to_le_bytes()))
}

/// A convolution whose weight and bias are in another file.
fn external() -> Vec<Vec<u8>> {
    let entry =
        |key: &str, value: &str| bytes(13, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat());
    let elsewhere = |entries: &[(&str, &str)]| {
        let entries: Vec<u8> = entries.iter().flat_map(|(key, value)| entry(key, value)).collect();
        [entries, integer_field(14, 1)].concat()
    };
    vec![
        of_type(
            FLOAT,
            "w",
            &[2, 2, 3, 3],
            &elsewhere(&[("location", DATA), ("offset", "880"), ("length", "144")]),
        ),
        of_type(FLOAT, "b", &[2], &elsewhere(&[("location", DATA)])),
        node("Conv", &["x", "w", "b"], "y", &list("pads", &[1, 1, 1, 1])),
    ]
}

/// A factor for each channel, computed of constants.
fn computed() -> Vec<Vec<u8>> {
    vec![
        op("Shape", &["x"], "s"),
        integers("one", &[1]),
        node("Gather", &["s", "one"], "c", &integer("axis", 0)),
        op("ConstantOfShape", &["c"], "zeros"),
        floats("a", &[2], &[0.5, -1.5]),
        op("Exp", &["a"], "e"),
        op("Less", &["e", "zeros"], "l"),
        op("Not", &["l"], "n"),
        op("Where", &["n", "e", "a"], "w"),
        scalar("start", 0),
        scalar("end", 4),
        scalar("step", 2),
        op("Range", &["start", "end", "step"], "r"),
        node("Cast", &["r"], "f", &integer("to", FLOAT)),
        floats("t", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.5]),
        node("ReduceMax", &["t"], "m", &[list("axes", &[0]), integer("keepdims", 0)].concat()),
        op("Sum", &["w", "f", "m"], "k"),
        integers("channels", &[1, 2, 1, 1]),
        op("Reshape", &["k", "channels"], "factor"),
        op("Mul", &["x", "factor"], "y"),
    ]
}

/// A convolution whose weights are quantized by filters, and whose values are quantized together.
fn quantized() -> Vec<Vec<u8>> {
    vec![
        of_type(INT8, "wq", &[2, 2, 1, 1], &bytes(9, &[1, 255, 2, 128])),
        floats("ws", &[2], &[0.5, 0.25]),
        of_type(INT8, "wz", &[2], &bytes(9, &[0, 0])),
        node("DequantizeLinear", &["wq", "ws", "wz"], "w", &integer("axis", 0)),
        op("Conv", &["x", "w"], "c"),
        floats("s", &[], &[0.02]),
        of_type(UINT8, "z", &[], &bytes(9, &[128])),
        op("QuantizeLinear", &["c", "s", "z"], "q"),
        op("DequantizeLinear", &["q", "s", "z"], "y"),
    ]
}

/// Images that are padded, cut, split, joined, normalized over their channels and flattened.
fn views() -> Vec<Vec<u8>> {
    let halves = [bytes(2, b"b"), integer("axis", 1)].concat();
    vec![
        integers("pads", &[0, 0, 1, 0, 0, 0, 1, 2]),
        op("Pad", &["x", "pads"], "p"),
        integers("starts", &[1]),
        integers("ends", &[5]),
        integers("axes", &[2]),
        op("Slice", &["p", "starts", "ends", "axes"], "l"),
        node("Split", &["l"], "a", &halves),
        node("Concat", &["b", "a"], "c", &integer("axis", 1)),
        node("Transpose", &["c"], "t", &list("perm", &[0, 2, 3, 1])),
        floats("g", &[2], &[0.5, 2.0]),
        floats("h", &[2], &[0.0, 1.0]),
        node("LayerNormalization", &["t", "g", "h"], "n", &float("epsilon", 1e-5)),
        node("Transpose", &["n"], "u", &list("perm", &[0, 3, 1, 2])),
        op("GlobalAveragePool", &["u"], "v"),
        op("Flatten", &["v"], "f"),
        floats("w", &[3, 2], &[1.0, 2.0, -1.0, 0.5, 0.0, 3.0]),
        node("Gemm", &["f", "w"], "y", &integer("transB", 1)),
    ]
}

/// Pools, a resize, weights of single channels, a mean over pixels and a product.
fn pools() -> Vec<Vec<u8>> {
    let windows = |kernel: usize, stride: usize| {
        [list("kernel_shape", &[kernel; 2]), list("strides", &[stride; 2])].concat()
    };
    let of_channels = |name: &str| floats(name, &[2], &[1.0, 0.5]);
    vec![
        node("MaxPool", &["x"], "a", &[windows(3, 2), list("pads", &[1; 4])].concat()),
        floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]),
        node("Resize", &["a", "", "scales"], "r", &text("mode", "nearest")),
        op("Add", &["r", "x"], "s"),
        node("AveragePool", &["s"], "p", &windows(2, 1)),
        floats("slope", &[2, 1, 1], &[0.25, -0.5]),
        op("PRelu", &["p", "slope"], "q"),
        of_channels("scale"),
        of_channels("shift"),
        of_channels("mean"),
        of_channels("variance"),
        op("BatchNormalization", &["q", "scale", "shift", "mean", "variance"], "n"),
        node("ReduceMean", &["n"], "v", &[list("axes", &[2, 3]), integer("keepdims", 0)].concat()),
        floats("w", &[2, 3], &[1.0, 2.0, -1.0, 0.5, 0.0, 3.0]),
        op("MatMul", &["v", "w"], "m"),
        node("Softmax", &["m"], "y", &integer("axis", 1)),
    ]
}

/// GELU and hard swish as formulas, and a gate.
fn formulas() -> Vec<Vec<u8>> {
    let number = |name: &str, value: f32| floats(name, &[], &[value]);
    vec![
        number("sqrt2", std::f32::consts::SQRT_2),
        number("one", 1.0),
        number("half", 0.5),
        op("Div", &["x", "sqrt2"], "d"),
        op("Erf", &["d"], "e"),
        op("Add", &["e", "one"], "a"),
        op("Mul", &["x", "a"], "m"),
        op("Mul", &["m", "half"], "g"),
        number("three", 3.0),
        number("zero", 0.0),
        number("six", 6.0),
        op("Add", &["g", "three"], "h"),
        op("Clip", &["h", "zero", "six"], "k"),
        op("Mul", &["g", "k"], "l"),
        op("Div", &["l", "six"], "o"),
        op("GlobalAveragePool", &["o"], "p"),
        floats("w", &[2, 2, 1, 1], &[1.0, -0.5, 0.25, 2.0]),
        op("Conv", &["p", "w"], "q"),
        op("Sigmoid", &["q"], "r"),
        op("Mul", &["o", "r"], "y"),
    ]
}

/// Activations with their options, and nodes that change nothing.
fn activations() -> Vec<Vec<u8>> {
    vec![
        node("LeakyRelu", &["x"], "a", &float("alpha", 0.125)),
        node("Elu", &["a"], "b", &float("alpha", 1.0)),
        node("Gelu", &["b"], "c", &text("approximate", "none")),
        op("HardSwish", &["c"], "d"),
        node("HardSigmoid", &["d"], "e", &[float("alpha", 0.25), float("beta", 0.5)].concat()),
        op("Dropout", &["e"], "f"),
        node("Cast", &["f"], "g", &integer("to", FLOAT)),
        op("Tanh", &["g"], "h"),
        op("Identity", &["h"], "y"),
    ]
}

/// A group norm as PyTorch writes it for old versions.
fn pytorch_norm() -> Vec<Vec<u8>> {
    vec![
        integers("rows", &[0, 1, -1]),
        floats("ones", &[1], &[1.0]),
        floats("zeros", &[1], &[0.0]),
        floats("weight", &[2, 1, 1], &[0.5, 2.0]),
        floats("bias", &[2, 1, 1], &[0.0, 1.0]),
        op("Reshape", &["x", "rows"], "r"),
        op("InstanceNormalization", &["r", "ones", "zeros"], "n"),
        op("Shape", &["x"], "shape"),
        op("Reshape", &["n", "shape"], "image"),
        op("Mul", &["image", "weight"], "scaled"),
        op("Add", &["scaled", "bias"], "y"),
    ]
}

/// What is refused at once would be no start for a fuzzer.
#[test]
fn each_seed_is_read() {
    for (name, content) in seeds() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("n.onnx"), content).unwrap();
        std::fs::write(folder.path().join(DATA), crate::targets::external_numbers()).unwrap();
        let read = lopper_engine::onnx::import(folder.path().join("n.onnx"), &Default::default());
        read.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
