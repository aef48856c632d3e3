//! The ONNX project's own tests of operators: each passes, or its operator is refused with a reason.

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
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
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
    "Erf",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "MaxPool",
    "Mul",
    "PRelu",
    "Pad",
    "Pow",
    "QuantizeLinear",
    "ReduceMax",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
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

#[test]
fn onnxs_own_tests_pass_or_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let opset = MAX_OPSET.to_string();
    let arguments = [&[folder.path().to_str().unwrap(), opset.as_str()][..], OPERATORS].concat();
    let Some(run) = Package::Onnx.run("onnx_cases.py", &arguments) else { return };
    let mut table: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let (mut refused, mut failed) = (Vec::new(), Vec::new());
    for line in run.out.lines() {
        let (name, operator) = line.split_once(' ').unwrap();
        let counts = table.entry(operator).or_default();
        match outcome(&folder.path().join(format!("{name}.onnx"))) {
            Outcome::Passed => counts[0] += 1,
            Outcome::Refused(reason) => {
                counts[1] += 1;
                refused.push(format!("{name}: {reason}"));
            }
            Outcome::Failed(difference) => {
                counts[2] += 1;
                failed.push(format!("{name}: {difference}"));
            }
        }
    }
    println!("| operator | passed | refused | failed |\n| --- | ---: | ---: | ---: |");
    for (operator, [passed, refused, failed]) in &table {
        println!("| {operator} | {passed} | {refused} | {failed} |");
    }
    let left_out = fs::read_to_string(folder.path().join("left_out")).unwrap();
    println!("\nnot in opset {MAX_OPSET}, or not of numbers: {}\n", left_out.lines().count());
    refused.iter().for_each(|refusal| println!("{refusal}"));
    let passed: usize = table.values().map(|counts| counts[0]).sum();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(passed >= 150, "{passed} passed");
}
