//! Operators on constants, whose results are weights, factors and shapes: beside ONNX Runtime.

use crate::by_hand::{bytes, floats, int, integer, integers, list, model, node, of_type, of_version};
use crate::runtime;
use crate::support::python::Package;
use lopper_engine::onnx::{ImportOptions, import};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Tensor};
use lopper_models::init;
use std::fs;

const FLOAT: i64 = 1;
const INT8: i64 = 3;
const INT64: i64 = 7;
const BOOL: i64 = 9;

/// The version of the operators of these files.
const OPSET: i64 = 17;

fn read(content: &[u8]) -> Result<Graph, String> {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    fs::write(file.path(), content).unwrap();
    import(file.path(), &ImportOptions::default()).map(|read| read.graph).map_err(|e| e.to_string())
}

/// A node without attributes.
fn op(kind: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    node(kind, inputs, output, &[])
}

/// `Cast`.
fn cast(x: &str, output: &str, to: i64) -> Vec<u8> {
    node("Cast", &[x], output, &integer("to", to))
}

/// Truth values.
fn truths(name: &str, values: &[u8]) -> Vec<u8> {
    of_type(BOOL, name, &[values.len() as i64], &bytes(9, values))
}

/// An integer without axes.
fn scalar(name: &str, value: i64) -> Vec<u8> {
    of_type(INT64, name, &[], &bytes(9, &value.to_le_bytes()))
}

/// `x` times the constants `k` of two numbers, one for each channel.
fn times(graph: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let shape = [integers("channels", &[1, 2, 1, 1]), op("Reshape", &["k", "channels"], "factor")];
    [graph, shape.to_vec(), vec![op("Mul", &["x", "factor"], "y")]].concat()
}

/// Two integers that are computed of the lists `a` and `b` by `kind`, and that many times `x`.
fn of_integers(kind: &str, attributes: &[u8], a: &[i64], b: &[i64]) -> Vec<Vec<u8>> {
    let lists = [integers("a", a), integers("b", b)];
    let node = [node(kind, &["a", "b"], "i", attributes), cast("i", "k", FLOAT)];
    times([lists, node].concat())
}

/// The same of numbers, of shapes `[2]` and `[1]`.
fn of_numbers(kind: &str, attributes: &[u8], a: &[f32], b: &[f32]) -> Vec<Vec<u8>> {
    let lists = [floats("a", &[a.len()], a), floats("b", &[b.len()], b)];
    times([lists.to_vec(), vec![node(kind, &["a", "b"], "k", attributes)]].concat())
}

/// A comparison or another question about numbers, answered by two numbers.
fn question(kind: &str, a: &[f32], b: &[f32]) -> Vec<Vec<u8>> {
    let lists = vec![floats("a", &[2], a), floats("b", &[2], b), floats("c", &[2], &[1.5, 2.0])];
    let choice = vec![op(kind, &["a", "b"], "is"), op("Where", &["is", "c", "a"], "k")];
    times([lists, choice].concat())
}

fn elementwise() -> Vec<(String, Vec<Vec<u8>>)> {
    let mut cases = Vec::new();
    let remainder = integer("fmod", 1);
    for kind in ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"] {
        cases.push((kind.into(), of_numbers(kind, &[], &[2.5, 0.75], &[1.5])));
        cases.push((format!("{kind} of integers"), of_integers(kind, &[], &[7, 3], &[2, 5])));
    }
    cases.push(("Div toward zero".into(), of_integers("Div", &[], &[-7, 7], &[2, -2])));
    cases.push(("Mod".into(), of_integers("Mod", &[], &[-7, 7], &[3, -3])));
    cases.push(("Mod of C".into(), of_integers("Mod", &remainder, &[-7, 7], &[3, -3])));
    cases.push(("Mod of numbers".into(), of_numbers("Mod", &remainder, &[-7.5, 7.25], &[2.0])));
    for kind in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"] {
        cases.push((kind.into(), question(kind, &[1.0, 2.0], &[1.0, 3.0])));
        cases.push((format!("{kind} reversed"), question(kind, &[1.0, 4.0], &[1.0, 3.0])));
    }
    for kind in ["And", "Or", "Xor"] {
        let truths = vec![truths("a", &[1, 0]), truths("b", &[1, 1]), op(kind, &["a", "b"], "is")];
        cases.push((
            kind.into(),
            times([truths, vec![op("Not", &["is"], "n"), cast("n", "k", FLOAT)]].concat()),
        ));
    }
    for kind in ["Abs", "Ceil", "Exp", "Floor", "Neg", "Reciprocal"] {
        let graph = vec![floats("a", &[2], &[-1.5, 2.25]), op(kind, &["a"], "k")];
        cases.push((kind.into(), times(graph)));
    }
    for kind in ["Log", "Sqrt"] {
        cases.push((kind.into(), times(vec![floats("a", &[2], &[1.5, 2.25]), op(kind, &["a"], "k")])));
    }
    let whole = vec![floats("a", &[2], &[-1.75, 2.75]), cast("a", "i", INT64), cast("i", "k", FLOAT)];
    cases.push(("Cast toward zero".into(), times(whole)));
    let truth = vec![integers("a", &[0, 3]), cast("a", "t", BOOL), cast("t", "k", FLOAT)];
    cases.push(("Cast to truth".into(), times(truth)));
    let like = vec![integers("a", &[4, 3]), op("CastLike", &["a", "x"], "k")];
    cases.push(("CastLike".into(), times(like)));
    cases
}

/// A constant of three rows and two columns, called `a`.
fn table() -> Vec<u8> {
    floats("a", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.5])
}

/// Constants that are reduced, counted or filled.
fn amounts() -> Vec<(String, Vec<Vec<u8>>)> {
    let reduced = |kind: &str, axes: &[u8]| times(vec![table(), node(kind, &["a"], "k", axes)]);
    let column = [list("axes", &[0]), integer("keepdims", 0)].concat();
    let kept = [list("axes", &[0]), integer("keepdims", 1)].concat();
    let product = vec![
        floats("a", &[2, 1], &[1.0, -2.0]),
        floats("b", &[1, 3], &[0.5, 0.25, 4.0]),
        op("Mul", &["a", "b"], "p"),
        integers("last", &[-1]),
        node("ReduceSum", &["p", "last"], "k", &integer("keepdims", 0)),
    ];
    let integers_between = [("from", 5), ("to", -2), ("by", -4)].map(|(name, value)| scalar(name, value));
    let range = [op("Range", &["from", "to", "by"], "r"), cast("r", "k", FLOAT)];
    let range = [integers_between.to_vec(), range.to_vec()].concat();
    let numbers = [("from", 0.5), ("to", 1.6), ("by", 0.75)].map(|(name, value)| floats(name, &[], &[value]));
    let numbers = [numbers.to_vec(), vec![op("Range", &["from", "to", "by"], "k")]].concat();
    let number = [int(1, 1), int(2, FLOAT), bytes(9, &2.5f32.to_le_bytes())].concat();
    let value = bytes(5, &[bytes(1, b"value"), bytes(5, &number), int(20, 4)].concat());
    let filled = vec![integers("s", &[1, 2]), node("ConstantOfShape", &["s"], "k", &value)];
    let size = vec![
        op("Size", &["x"], "s"),
        cast("s", "n", FLOAT),
        floats("a", &[2], &[0.5, 0.25]),
        op("Mul", &["a", "n"], "k"),
    ];
    vec![
        ("ReduceProd".into(), reduced("ReduceProd", &column)),
        ("ReduceProd, kept".into(), reduced("ReduceProd", &kept)),
        ("ReduceSum of a product".into(), times(product)),
        ("ReduceMax".into(), reduced("ReduceMax", &column)),
        ("ReduceMin".into(), reduced("ReduceMin", &kept)),
        ("Range".into(), times(range)),
        ("Range of numbers".into(), times(numbers)),
        ("ConstantOfShape".into(), times(filled)),
        ("Size".into(), times(size)),
    ]
}

/// Parts of constants, in other orders and shapes.
fn places() -> Vec<(String, Vec<Vec<u8>>)> {
    let axis = |axis: i64| integer("axis", axis);
    let sliced = vec![
        table(),
        integers("s", &[2, -1]),
        integers("e", &[0x7FFF_FFFF, 9]),
        op("Slice", &["a", "s", "e"], "b"),
        node("Concat", &["b", "b"], "k", &axis(-1)),
    ];
    let gathered = vec![table(), integers("i", &[-1]), node("Gather", &["a", "i"], "k", &axis(0))];
    let turned = vec![
        table(),
        node("Transpose", &["a"], "t", &list("perm", &[1, 0])),
        integers("i", &[1]),
        node("Gather", &["t", "i"], "k", &axis(1)),
    ];
    let expanded = vec![floats("a", &[1], &[2.5]), integers("s", &[2, 1]), op("Expand", &["a", "s"], "k")];
    vec![
        ("Slice and Concat".into(), times(sliced)),
        ("Gather".into(), times(gathered)),
        ("Transpose".into(), times(turned)),
        ("Expand".into(), times(expanded)),
    ]
}

/// What exporters write around layers.
fn networks() -> Vec<(String, Vec<Vec<u8>>)> {
    // A size of the input, or 1 where it is not known: PyTorch's `expand`.
    let expand = vec![
        op("Shape", &["x"], "shape"),
        integers("second", &[1]),
        op("Gather", &["shape", "second"], "c"),
        integers("none", &[-1]),
        op("Equal", &["c", "none"], "is"),
        integers("one", &[1]),
        op("Where", &["is", "one", "c"], "size"),
        floats("a", &[1], &[1.5]),
        op("Expand", &["a", "size"], "k"),
    ];
    // The sizes in front of the first axis are none.
    let prefix = vec![
        op("Shape", &["x"], "shape"),
        integers("first", &[0]),
        op("Slice", &["shape", "first", "first"], "front"),
        integers("two", &[2]),
        node("Concat", &["front", "two"], "size", &integer("axis", 0)),
        floats("a", &[1], &[1.5]),
        op("Expand", &["a", "size"], "k"),
    ];
    // A weight that is scaled and turned before its use.
    let weight = vec![
        floats("w", &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]),
        floats("s", &[1, 2], &[0.5, -1.0]),
        op("Mul", &["w", "s"], "v"),
        node("Transpose", &["v"], "u", &list("perm", &[3, 2, 0, 1])),
        op("Conv", &["x", "u"], "y"),
    ];
    let bounds = vec![
        floats("low", &[], &[-0.5]),
        floats("high", &[1], &[0.75]),
        op("Neg", &["x"], "n"),
        op("Max", &["low", "n"], "m"),
        op("Min", &["m", "high"], "y"),
    ];
    let half = || vec![floats("k", &[], &[0.5]), floats("o", &[1], &[1.0])];
    // GELU, as ONNX writes it out.
    let gelu = [
        op("Sqrt", &["two"], "root"),
        op("Div", &["x", "root"], "d"),
        op("Erf", &["d"], "e"),
        op("Sum", &["o", "e"], "s"),
        op("Mul", &["k", "x"], "h"),
        op("Mul", &["h", "s"], "y"),
    ];
    let gelu = [half(), vec![floats("two", &[], &[2.0])], gelu.to_vec()].concat();
    let shifted = [half(), vec![op("Sum", &["x", "k"], "y")]].concat();
    vec![
        ("expand".into(), times(expand)),
        ("prefix".into(), times(prefix)),
        ("gelu".into(), gelu),
        ("sum".into(), shifted),
        ("weight".into(), weight),
        ("bounds".into(), bounds),
    ]
}

#[test]
fn constants_are_computed_as_in_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let x = init::normal(7, "x", &[1, 2, 4, 4], 1.0);
    let images = x.permute(&[0, 2, 3, 1]);
    let mut results = Vec::new();
    for (name, graph) in [elementwise(), amounts(), places(), networks()].concat() {
        let content = of_version(OPSET, &graph, [1, 2, 4, 4]);
        let graph = read(&content).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut plan = Plan::new(&graph, [1, 4, 4, 2], &Device::cpu()).unwrap();
        results.push((name.clone(), plan.run(images.data()).unwrap().to_vec()));
        fs::write(folder.path().join(format!("{name}.onnx")), content).unwrap();
        let input: Vec<u8> = x.data().iter().flat_map(|v| v.to_le_bytes()).collect();
        fs::write(folder.path().join(format!("{name}.input")), input).unwrap();
    }
    if Package::Onnx.run("onnx_run.py", &[folder.path().to_str().unwrap()]).is_none() {
        return;
    }
    for (name, found) in results {
        let theirs = runtime::floats(&folder.path().join(format!("{name}.output")));
        let theirs = Tensor::from_slice(&[1, 2, 4, 4], &theirs).unwrap().permute(&[0, 2, 3, 1]);
        runtime::assert_close(&name, &found, theirs.data());
    }
}

#[test]
fn what_has_no_result_is_refused() {
    let wide = integers("s", &[1 << 20, 1 << 20]);
    let long = vec![
        scalar("from", 0),
        scalar("to", i64::MAX),
        scalar("by", 1),
        op("Range", &["from", "to", "by"], "k"),
    ];
    let still =
        vec![scalar("from", 0), scalar("to", 9), scalar("by", 0), op("Range", &["from", "to", "by"], "k")];
    let deep = (0..9).map(|i| {
        let input = if i == 0 { "a".into() } else { format!("d{}", i - 1) };
        node("Unsqueeze", &[&input, "axes"], &format!("d{i}"), &[])
    });
    let deep = [vec![floats("a", &[1], &[1.0]), integers("axes", &[0])], deep.collect()].concat();
    let batches = vec![op("Shape", &["x"], "s"), integers("i", &[0, 1]), op("Gather", &["s", "i"], "k")];
    for (graph, words) in [
        (of_integers("Div", &[], &[1, 2], &[0, 1]), "`i` (Div) has no exact result"),
        (of_integers("Mul", &[], &[i64::MAX, 2], &[2, 1]), "`i` (Mul) has no exact result"),
        (of_integers("Mod", &[], &[i64::MIN, 2], &[-1, 1]), "`i` (Mod) has no exact result"),
        (of_integers("Pow", &[], &[2, 2], &[-1, 64]), "`i` (Pow) has no exact result"),
        (of_numbers("Mod", &[], &[1.0, 2.0], &[1.0]), "computes `Mod` of numbers of shape [[2], [1]]"),
        (of_numbers("And", &[], &[1.0, 2.0], &[1.0]), "computes `And` of numbers"),
        (of_numbers("Add", &[], &[1.0, 2.0], &[1.0, 2.0, 3.0]), "combines the shapes [[2], [3]]"),
        (
            times(vec![floats("a", &[1], &[1.0]), wide, op("Expand", &["a", "s"], "k")]),
            "far more numbers than the file has",
        ),
        (
            times(vec![floats("a", &[0, 1 << 40, 1 << 40], &[]), node("Flatten", &["a"], "k", &[])]),
            "more elements than there can be",
        ),
        (times(long), "makes integers of shape [9223372036854775807], more than 64"),
        (times(still), "has steps of 0"),
        (times(deep), "makes a constant of 9 axes, expected at most 8"),
        (
            times([batches, vec![op("Equal", &["k", "x"], "y2")]].concat()),
            "`y2` (Equal) is understood of constants alone",
        ),
        (vec![op("Equal", &["x", "x"], "e"), op("Relu", &["x"], "y")], "is understood of constants alone"),
        (vec![op("Max", &["x", "x"], "y")], "compares 2 values that are computed"),
        (vec![floats("a", &[1], &[f32::NAN]), op("Max", &["x", "a"], "y")], "has the bound NaN"),
    ] {
        let message = read(&model(&graph)).expect_err("a refusal");
        assert!(message.contains(words), "expected `{words}` in: {message}");
    }
}

/// Many nodes that each read a constant of the file as a whole.
#[test]
fn the_work_on_constants_is_bounded() {
    let many = (0..5000).map(|i| op("ReduceProd", &["a"], &format!("k{i}")));
    let graph =
        [vec![floats("a", &[1 << 15], &vec![1.0; 1 << 15])], many.collect(), vec![op("Relu", &["x"], "y")]];
    let message = read(&model(&graph.concat())).expect_err("a refusal");
    assert!(message.contains("far more numbers than the file has"), "{message}");
    let many = (0..5000).map(|i| op("DequantizeLinear", &["a", "s"], &format!("k{i}")));
    let bytes = of_type(INT8, "a", &[1 << 15], &bytes(9, &[0; 1 << 15]));
    let graph = [vec![bytes, floats("s", &[], &[0.5])], many.collect(), vec![op("Relu", &["x"], "y")]];
    let message = read(&model(&graph.concat())).expect_err("a refusal");
    assert!(message.contains("far more than the file"), "{message}");
}
