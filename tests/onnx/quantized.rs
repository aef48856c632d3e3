//! Quantized numbers: weights with a scale for each filter, and values, which are kept between bounds and not rounded.

use crate::by_hand::{bytes, floats, integer, integers, list, model, node, of_type, of_version};
use crate::runtime;
use crate::support::python::Package;
use lopper_compress::fold;
use lopper_compress::prune::{Constants, PrunePlan, prune};
use lopper_engine::layer::Activation;
use lopper_engine::onnx::{ImportOptions, Imported, OnnxOptions, export, import};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Layer, Tensor};
use lopper_models::init;
use std::fs;

const UINT8: i64 = 2;
const INT8: i64 = 3;
const UINT16: i64 = 4;
const INT16: i64 = 5;
const FLOAT8: i64 = 17;
const UINT4: i64 = 21;
const INT4: i64 = 22;

fn read(graph: &[Vec<u8>]) -> Result<Imported, String> {
    of_file(&model(graph))
}

fn of_file(content: &[u8]) -> Result<Imported, String> {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    fs::write(file.path(), content).unwrap();
    import(file.path(), &ImportOptions::default()).map_err(|e| e.to_string())
}

/// A file that quantizes `x` to `type` and restores it as `y`, with constants that are named like that.
fn pair(element: i64, zero: &[u8], scale: f32, [x, y]: [&str; 2]) -> Vec<Vec<u8>> {
    let [s, z, q] = ["s", "z", "q"].map(|name| format!("{y}.{name}"));
    vec![
        floats(&s, &[], &[scale]),
        of_type(element, &z, &[], &bytes(9, zero)),
        node("QuantizeLinear", &[x, &s, &z], &q, &[]),
        node("DequantizeLinear", &[&q, &s, &z], y, &[]),
    ]
}

/// A convolution of `x`, as `c`.
fn conv() -> Vec<Vec<u8>> {
    vec![floats("w", &[2, 2, 1, 1], &[1.0, -0.5, 0.25, 2.0]), node("Conv", &["x", "w"], "c", &[])]
}

/// The output of `graph` for its two channels of 16 pixels, the channels last.
fn run(graph: &Graph, x: &Tensor) -> Vec<f32> {
    let mut plan = Plan::new(graph, [1, 4, 4, 2], &Device::cpu()).unwrap();
    plan.run(x.permute(&[0, 2, 3, 1]).data()).unwrap().to_vec()
}

fn activations(graph: &Graph) -> Vec<Activation> {
    let found = graph.nodes().iter().map(|node| &node.layer);
    found.filter_map(|layer| if let Layer::Activation(a) = layer { Some(*a) } else { None }).collect()
}

/// A network behind [`conv`], the version of its operators, the sum of its steps, and the bounds of its values.
struct Case {
    name: &'static str,
    opset: i64,
    graph: Vec<Vec<u8>>,
    step: f32,
    bounds: [f32; 2],
}

impl Case {
    /// A pair of the type `element`.
    fn of(name: &'static str, (element, zero): (i64, &[u8]), step: f32, [low, high]: [f32; 2]) -> Self {
        let opset = if [UINT8, INT8].contains(&element) { 13 } else { 21 };
        let graph = pair(element, zero, step, ["c", "y"]);
        Self { name, opset, graph, step, bounds: [low * step, high * step] }
    }

    fn all() -> Vec<Self> {
        let two = [pair(UINT8, &[128], 0.02, ["c", "d"]), pair(UINT8, &[0], 0.01, ["d", "y"])].concat();
        let behind = [vec![node("Relu", &["c"], "r", &[])], pair(INT8, &[0], 0.01, ["r", "y"])].concat();
        vec![
            Self::of("relu", (UINT8, &[0]), 0.02, [0.0, 255.0]),
            Self::of("low", (INT8, &[0x80]), 0.02, [0.0, 255.0]),
            Self::of("symmetric", (INT8, &[0]), 0.02, [-128.0, 127.0]),
            Self::of("uneven", (UINT8, &[200]), 0.02, [-200.0, 55.0]),
            Self::of("uint16", (UINT16, &[1, 0]), 5e-5, [-1.0, 65534.0]),
            Self::of("int16", (INT16, &[0xFF, 0xFF]), 5e-5, [-32767.0, 32768.0]),
            Self::of("uint4", (UINT4, &[3]), 0.25, [-3.0, 12.0]),
            Self::of("int4", (INT4, &[0x0E]), 0.25, [-6.0, 9.0]),
            Self { name: "two", opset: 13, graph: two, step: 0.03, bounds: [0.0, 127.0 * 0.02] },
            Self { name: "behind", opset: 13, graph: behind, step: 0.01, bounds: [0.0, 127.0 * 0.01] },
        ]
    }
}

/// A pair of each type is a clamp, exactly; ONNX Runtime's numbers are no more than half a step away.
#[test]
fn values_saturate_as_in_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let x = init::normal(7, "x", &[1, 2, 4, 4], 3.0);
    let plain = read(&[conv(), vec![node("Identity", &["c"], "y", &[])]].concat()).unwrap().graph;
    let values = run(&plain, &x);
    let mut results = Vec::new();
    for Case { name, opset, graph, step, bounds: [low, high] } in Case::all() {
        let content = of_version(opset, &[conv(), graph].concat(), [1, 2, 4, 4]);
        let Imported { graph, notes } = of_file(&content).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(notes.iter().any(|note| note.contains("but does not round them")), "{name}: {notes:?}");
        assert_eq!(activations(&graph), [Activation::Clamp { low, high }], "{name}");
        let found = run(&graph, &x);
        let clamped: Vec<f32> = values.iter().map(|value| value.clamp(low, high)).collect();
        assert_eq!(found, clamped, "{name}");
        assert!(found.contains(&low) && found.contains(&high), "{name} saturates");
        fs::write(folder.path().join(format!("{name}.onnx")), content).unwrap();
        let input: Vec<u8> = x.data().iter().flat_map(|v| v.to_le_bytes()).collect();
        fs::write(folder.path().join(format!("{name}.input")), input).unwrap();
        results.push((name, found, step));
    }
    if Package::Onnx.run("onnx_run.py", &[folder.path().to_str().unwrap()]).is_none() {
        return;
    }
    for (name, found, step) in results {
        let theirs = runtime::floats(&folder.path().join(format!("{name}.output")));
        let theirs = Tensor::from_slice(&[1, 2, 4, 4], &theirs).unwrap().permute(&[0, 2, 3, 1]);
        for (a, b) in found.iter().zip(theirs.data()) {
            assert!((a - b).abs() <= 0.501 * step, "{name}: {a}, expected {b}");
        }
    }
}

/// Values that are between the bounds get no clamp; others that several nodes read keep theirs.
#[test]
fn a_pair_adds_a_clamp_only_where_it_changes_something() {
    let of = |graph: &[Vec<Vec<u8>>]| activations(&read(&graph.concat()).unwrap().graph);
    let clamp = |low, high| Activation::Clamp { low, high };
    let on = |op: &str, x: &str, y: &str| vec![node(op, &[x], y, &[])];
    let byte = |scale: f32, names: [&str; 2]| pair(UINT8, &[0], scale, names);
    // The same clamp twice, with a pool between them.
    let pool = node("MaxPool", &["d"], "p", &list("kernel_shape", &[1, 1]));
    let found = of(&[conv(), byte(0.5, ["c", "d"]), vec![pool], byte(0.5, ["p", "y"])]);
    assert_eq!(found, [clamp(0.0, 127.5)]);
    let found = of(&[conv(), on("Sigmoid", "c", "s"), byte(1.0, ["s", "y"])]);
    assert_eq!(found, [Activation::Sigmoid]);
    let found = of(&[conv(), on("Sigmoid", "c", "s"), byte(0.002, ["s", "y"])]);
    assert_eq!(found, [Activation::Sigmoid, clamp(0.0, 255.0 * 0.002)]);
    // What ONNX's `Clip` between the same bounds is.
    assert_eq!(of(&[conv(), pair(UINT4, &[0], 0.4, ["c", "y"])]), [Activation::Relu6]);
    // The other reader of a `Relu` sees all its values.
    let sum = vec![node("Add", &["r", "d"], "y", &[])];
    let found = of(&[conv(), on("Relu", "c", "r"), byte(0.01, ["r", "d"]), sum]);
    assert_eq!(found, [Activation::Relu, clamp(0.0, 255.0 * 0.01)]);
}

/// A clamp is an activation like any other: channels leave through it.
#[test]
fn a_quantized_network_is_pruned() {
    let filters: Vec<f32> = (0..8).map(|i| if i / 2 == 1 { 0.0 } else { i as f32 - 3.5 }).collect();
    let weights = [floats("v", &[4, 2, 1, 1], &filters), floats("u", &[2, 4, 1, 1], &filters)];
    let first = [weights.to_vec(), vec![node("Conv", &["x", "v"], "c", &[])]].concat();
    let graph = [first, pair(UINT8, &[9], 0.02, ["c", "d"]), vec![node("Conv", &["d", "u"], "y", &[])]];
    let graph = read(&graph.concat()).unwrap().graph;
    let small = prune(&graph, &PrunePlan::dead(&graph).unwrap(), Constants::Exact).unwrap().graph;
    assert_eq!(small.param("c.weight").unwrap().value().shape(), [3, 1, 1, 2]);
    assert_eq!(activations(&small), activations(&graph));
    let x = init::normal(3, "x", &[1, 2, 4, 4], 1.0);
    runtime::assert_close("pruned", &run(&small, &x), &run(&graph, &x));
}

#[test]
fn what_is_not_known_about_a_pair_is_refused() {
    let refusal = |graph: &[Vec<u8>]| read(graph).expect_err("a refusal");
    let said = |element: i64, attribute: &[u8]| {
        let zero = of_type(element, "z", &[], &bytes(9, &[0]));
        let quantize = node("QuantizeLinear", &["x", "s", "z"], "q", attribute);
        [floats("s", &[], &[0.5]), zero, quantize, node("DequantizeLinear", &["q", "s", "z"], "y", &[])]
    };
    for (graph, words) in [
        (said(FLOAT8, &[]).to_vec(), "quantizes to type 17, expected integers of 4, 8 or 16 bits"),
        (said(INT8, &integer("output_dtype", UINT8)).to_vec(), "of type 3, which is not its output's"),
        (pair(UINT8, &[0], 0.0, ["x", "y"]), "has scales [0.0], expected positive numbers"),
        (pair(UINT8, &[0], f32::NAN, ["x", "y"]), "expected positive numbers"),
        (pair(UINT8, &[0], f32::INFINITY, ["x", "y"]), "expected positive numbers"),
    ] {
        let message = refusal(&graph);
        assert!(message.contains(words), "expected `{words}` in: {message}");
    }
    assert!(read(&said(INT8, &integer("output_dtype", INT8))).is_ok());
    // The type of zero points that nodes make is known.
    let made = |to: i64| {
        let cast = [
            integers("i", &[3]),
            node("Cast", &["i"], "j", &integer("to", to)),
            node("Identity", &["j"], "z", &[]),
        ];
        let pair = ["QuantizeLinear", "DequantizeLinear"].into_iter().zip([["x", "s", "z"], ["q", "s", "z"]]);
        let pair = pair.zip(["q", "y"]).map(|((op, inputs), output)| node(op, &inputs, output, &[]));
        [cast.to_vec(), vec![floats("s", &[1], &[0.5])], pair.collect()].concat()
    };
    let found = activations(&read(&made(INT8)).unwrap().graph);
    assert_eq!(found, [Activation::Clamp { low: -65.5, high: 62.0 }]);
    let message = refusal(&made(6));
    assert!(message.contains("`q` (QuantizeLinear) quantizes to type 6"), "{message}");
}

/// A network that quantizes its two channels along `axis` with scales `s` and zero points `z`, both for the same bounds, and
/// restores them by those of `restored`, before a convolution whose weights have a scale for each filter.
fn network(axis: i64, restored: [&str; 2]) -> Vec<Vec<u8>> {
    let axis = integer("axis", axis);
    vec![
        floats("s", &[2], &[0.5, 0.5]),
        floats("u", &[2], &[0.5, 0.25]),
        floats("t", &[2], &[0.5, 0.125]),
        of_type(UINT8, "z", &[2], &bytes(9, &[7, 7])),
        of_type(UINT8, "o", &[2], &bytes(9, &[7, 8])),
        floats("ws", &[2], &[0.5, 2.0]),
        of_type(INT8, "wz", &[2], &bytes(9, &[0, 3])),
        of_type(INT8, "w8", &[2, 2, 1, 1], &bytes(9, &[4, 0xFC, 3, 4])),
        node("QuantizeLinear", &["x", "s", "z"], "q", &axis),
        node("DequantizeLinear", &["q", restored[0], restored[1]], "d", &axis),
        node("DequantizeLinear", &["w8", "ws", "wz"], "w", &integer("axis", 0)),
        node("Conv", &["d", "w"], "y", &[]),
    ]
}

#[test]
fn each_filter_and_each_channel_may_have_a_scale() {
    for axis in [1, -3] {
        let Imported { graph, notes } = read(&network(axis, ["s", "z"])).unwrap();
        // (4, −4) · ½ and (3 − 3, 4 − 3) · 2.
        assert_eq!(graph.param("y.weight").unwrap().value().data(), [2.0, -2.0, 0.0, 2.0]);
        assert_eq!(activations(&graph), [Activation::Clamp { low: -3.5, high: 124.0 }]);
        assert!(
            notes.iter().any(|note| note.contains("`q` (QuantizeLinear) keeps values between -3.5 and 124"))
        );
    }
}

#[test]
fn values_are_restored_by_their_own_scales_along_an_axis_that_fits() {
    for (axis, restored, words) in [
        (1, ["t", "z"], "other scales or zero points"),
        (1, ["s", "o"], "other scales or zero points"),
        (2, ["s", "z"], "has 2 scales along axis 2 of the shape [0, 2, 4, 4]"),
        (0, ["s", "z"], "has 2 scales along axis 0"),
        (9, ["s", "z"], "has 2 scales along axis"),
    ] {
        let message = read(&network(axis, restored)).expect_err("a refusal");
        assert!(message.contains(words), "expected `{words}` in: {message}");
    }
}

/// There is no clamp with other bounds for each channel.
#[test]
fn values_with_other_bounds_for_each_channel_are_refused() {
    let mut graph = network(1, ["u", "z"]);
    let quantize = graph
        .iter()
        .position(|part| *part == node("QuantizeLinear", &["x", "s", "z"], "q", &integer("axis", 1)));
    graph[quantize.unwrap()] = node("QuantizeLinear", &["x", "u", "z"], "q", &integer("axis", 1));
    let message = read(&graph).expect_err("a refusal");
    assert!(
        message.contains("`q` (QuantizeLinear) keeps values between other bounds for each channel"),
        "{message}"
    );
}

/// ONNX Runtime leaves out each ReLU whose values are quantized behind it. Images that are far brighter than those with which
/// values were measured show it.
#[test]
fn a_network_that_onnx_runtime_quantized_computes_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let plain = fold(&runtime::small("resnet8", 5)).unwrap().graph;
    let [h, w, c] = plain.info.input;
    let images = init::normal(5, "images", &[2, h, w, c], 1.0);
    let numbers = |scale: f32| -> Vec<u8> {
        let first = images.permute(&[0, 3, 1, 2]);
        first.data().iter().flat_map(|value| (scale * value).to_le_bytes()).collect()
    };
    export(&plain, place("plain.onnx"), &OnnxOptions::default()).unwrap();
    fs::write(place("images"), numbers(0.5)).unwrap();
    let folder = folder.path().to_str().unwrap();
    if Package::Onnx.run("onnx_quantize.py", &[folder]).is_none() {
        return;
    }
    fs::remove_file(place("plain.onnx")).unwrap();
    fs::write(place("quantized.input"), numbers(1.0)).unwrap();
    Package::Onnx.run("onnx_run.py", &[folder]).unwrap();
    let theirs = runtime::floats(&place("quantized.output"));
    let graph = import(place("quantized.onnx"), &ImportOptions::default()).unwrap().graph;
    let count = |graph: &Graph| activations(graph).len();
    assert!(count(&graph) > count(&plain) / 2);
    let logits = |graph: &Graph| graph.logits(&Device::cpu(), images.clone()).unwrap().data().to_vec();
    let largest = theirs.iter().fold(0f32, |most, value| most.max(value.abs()));
    let difference =
        |ours: &[f32]| ours.iter().zip(&theirs).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest;
    let (ours, without) = (difference(&logits(&graph)), difference(&logits(&plain)));
    assert!(ours < 0.05 && without > 4.0 * ours, "{ours} with its bounds, {without} without");
    for (technique, small) in runtime::compressed(&graph, 3) {
        assert!(logits(&small).iter().all(|value| value.is_finite()), "{technique}");
    }
}
