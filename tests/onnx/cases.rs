//! The ONNX project's own tests of operators: each passes, or its operator is refused with a reason. `docs/onnx-cases.md` lists
//! them; `LOPPER_WRITE_ONNX_CASES=1` writes it.

use crate::runtime::floats;
use crate::support::python::Package;
use lopper_engine::onnx::{ImportOptions, MAX_OPSET, import};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Tensor};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The operators that are read.
const OPERATORS: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "QuantizeLinear",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Size",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
    "Xor",
];

/// What became of a case.
enum Outcome {
    Passed,
    Refused(String),
    Failed(String),
}

/// The sizes in `line` that are more than 1.
fn long(line: &str) -> Vec<usize> {
    line.split_whitespace().map(|size| size.parse().unwrap()).filter(|&size| size > 1).collect()
}

/// The orders of axes that a value of ONNX with these sizes more than 1 may have as images of `[H, W, C]`: channels last, or
/// not. Where sizes are equal, both.
fn orders(sizes: &[usize], batch: usize, [h, w, c]: [usize; 3]) -> Vec<bool> {
    let is = |shape: [usize; 4]| shape.into_iter().filter(|&size| size > 1).eq(sizes.iter().copied());
    let (last, first) = (is([batch, h, w, c]), is([batch, c, h, w]));
    [true, false].into_iter().filter(|&order| if order { last } else { first || !last }).collect()
}

/// Runs the case `path` with its own tolerance.
fn outcome(path: &Path) -> Outcome {
    let graph = match import(path, &ImportOptions::default()) {
        Ok(imported) => imported.graph,
        Err(e) => return Outcome::Refused(e.to_string().rsplit(".onnx: ").next().unwrap_or_default().into()),
    };
    let [h, w, c] = graph.info.input;
    let (input, expected) = (floats(&path.with_extension("input")), floats(&path.with_extension("output")));
    let tolerance = fs::read_to_string(path.with_extension("tolerance")).unwrap();
    let (relative, absolute) = tolerance.split_once(' ').unwrap();
    let (relative, absolute): (f32, f32) = (relative.parse().unwrap(), absolute.parse().unwrap());
    let batch = input.len() / (h * w * c);
    let shapes = fs::read_to_string(path.with_extension("shapes")).unwrap();
    let mut shapes = shapes.lines().chain(["", ""]).map(long);
    let (given, wanted) = (shapes.next().unwrap(), shapes.next().unwrap());
    let shape = graph.shapes([batch, h, w, c]).unwrap()[graph.output()].clone();
    let mut plan = Plan::new(&graph, [batch, h, w, c], &Device::cpu()).unwrap();
    let differs = |(a, b): &(&f32, &f32)| (*a - *b).abs() > absolute + relative * b.abs() || a.is_nan();
    let mut difference = String::new();
    for last in orders(&given, batch, [h, w, c]) {
        let images = match last {
            true => Tensor::from_slice(&[batch, h, w, c], &input).unwrap(),
            false => Tensor::from_slice(&[batch, c, h, w], &input).unwrap().permute(&[0, 2, 3, 1]),
        };
        let found = Tensor::from_slice(&shape, plan.run(images.data()).unwrap()).unwrap();
        let found_in_order = match shape[..] {
            [_, h, w, c] => orders(&wanted, batch, [h, w, c])
                .into_iter()
                .map(|last| if last { found.clone() } else { found.permute(&[0, 3, 1, 2]) })
                .collect(),
            _ => vec![found],
        };
        for found in found_in_order {
            difference = match found.data().iter().zip(&expected).find(differs) {
                _ if found.len() != expected.len() => {
                    format!("{} numbers, expected {}", found.len(), expected.len())
                }
                Some((a, b)) => format!("{a}, expected {b}"),
                None => return Outcome::Passed,
            };
        }
    }
    Outcome::Failed(difference)
}

/// What became of the cases of an operator.
#[derive(Default)]
struct Row {
    passed: Vec<String>,
    /// Names and reasons.
    refused: Vec<[String; 2]>,
    left_out: usize,
}

/// The first of the reasons in `message`, without the name of its node.
fn reason(message: &str) -> String {
    let first = message.split("; node `").next().unwrap_or_default();
    let first = first.strip_prefix("not imported: ").unwrap_or(first);
    let named = first
        .strip_prefix("node `")
        .and_then(|rest| rest.split_once("` ("))
        .map(|(_, rest)| format!("({rest}"));
    named.unwrap_or_else(|| first.into()).replace('|', "\\|")
}

/// The page that lists the cases of the version `version` of ONNX.
fn page(version: &str, table: &BTreeMap<String, Row>) -> String {
    let total = |count: fn(&Row) -> usize| table.values().map(count).sum::<usize>();
    let (passed, refused) = (total(|row| row.passed.len()), total(|row| row.refused.len()));
    let mut page = format!(
        "# ONNX's own tests\n\nOf the tests of operators in ONNX {version}, those of the operators that `lopper import` \
         reads: {passed} pass, {refused} are refused, and none\nfails. Left out are {} that are not of operators up to version \
         {MAX_OPSET}, or not of numbers. The operators of functions that ONNX writes\nout are *several*.\n\n`cargo test \
         --release --test onnx onnxs_own` compares this page with what happens, and writes it with\n\
         `LOPPER_WRITE_ONNX_CASES=1`.\n\n| operator | passed | refused | left out |\n| --- | ---: | ---: | ---: |\n",
        total(|row| row.left_out),
    );
    for (operator, Row { passed, refused, left_out }) in table {
        page += &format!("| {operator} | {} | {} | {left_out} |\n", passed.len(), refused.len());
    }
    page += "\n## Refused\n\n| test | reason |\n| --- | --- |\n";
    for [name, refusal] in table.values().flat_map(|row| &row.refused) {
        page += &format!("| `{name}` | {} |\n", reason(refusal));
    }
    page
}

/// Compares `page` with the one of the repository, or writes that. Another version of ONNX has other tests.
fn compare(version: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/onnx-cases.md");
    if std::env::var_os("LOPPER_WRITE_ONNX_CASES").is_some() {
        return fs::write(path, page).unwrap();
    }
    let found = fs::read_to_string(path).unwrap();
    let differs = found.lines().zip(page.lines()).find(|(found, expected)| found != expected);
    if found.contains(&format!("in ONNX {version},")) {
        assert!(
            found == page,
            "docs/onnx-cases.md differs: {differs:?}; LOPPER_WRITE_ONNX_CASES=1 writes it"
        );
    }
}

#[test]
fn onnxs_own_tests_pass_or_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let opset = MAX_OPSET.to_string();
    let arguments = [&[folder.path().to_str().unwrap(), opset.as_str()][..], OPERATORS].concat();
    let Some(run) = Package::Onnx.run("onnx_cases.py", &arguments) else { return };
    let mut table: BTreeMap<String, Row> = BTreeMap::new();
    let mut failed = Vec::new();
    let mut lines: Vec<&str> = run.out.lines().collect();
    lines.sort_unstable();
    for line in lines {
        let (name, operator) = line.split_once(' ').unwrap();
        let row = table.entry(operator.into()).or_default();
        match outcome(&folder.path().join(format!("{name}.onnx"))) {
            Outcome::Passed => row.passed.push(name.into()),
            Outcome::Refused(reason) => row.refused.push([name.into(), reason]),
            Outcome::Failed(difference) => failed.push(format!("{name}: {difference}")),
        }
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    for line in read("left_out").lines() {
        let (_, operator) = line.split_once(' ').unwrap();
        table.entry(operator.into()).or_default().left_out += 1;
    }
    assert!(failed.is_empty(), "{failed:#?}");
    let page = page(&read("version"), &table);
    println!("{page}");
    compare(&read("version"), &page);
}
