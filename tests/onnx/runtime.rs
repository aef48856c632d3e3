//! What is written computes in ONNX Runtime as the plan does.

use crate::support::masks::{random_plan, sparse};
use crate::support::python::Package;
use crate::support::random_graph::{networks, values::randomize};
use lopper_compress::prune::{Constants, PrunePlan, prune};
use lopper_compress::{CompactConfig, FactorizeConfig, compact, factorize, fold};
use lopper_engine::onnx::{Batch, CompactForm, Images, MAX_OPSET, MIN_OPSET, OnnxOptions, export};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Layer, Tensor};
use lopper_models::{Options, build, init, names, numbered_classes};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::fs;
use std::path::Path;

/// The largest difference of a logit relative to the largest one.
const BOUND: f64 = 1e-5;

/// Networks to compare, each with its images and the plan's logits.
#[derive(Default)]
pub struct Comparison {
    cases: Vec<(String, Vec<f32>)>,
}

impl Comparison {
    /// Adds `graph` as written with `options`.
    pub fn add(&mut self, folder: &Path, name: &str, graph: &Graph, options: &OnnxOptions) {
        let path = folder.join(format!("{name}.onnx"));
        export(graph, &path, options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let batch = if let Batch::Fixed(images) = options.batch { images } else { 2 };
        let [h, w, c] = graph.info.input;
        let (input, images) = images(graph, batch, options.images);
        fs::write(path.with_extension("input"), input).unwrap();
        let logits =
            Plan::new(graph, [batch, h, w, c], &Device::cpu()).unwrap().run(images.data()).unwrap().to_vec();
        self.cases.push((name.to_string(), logits));
    }

    /// Compares the results in `folder` with the plans'.
    pub fn check(&self, folder: &Path) {
        for (name, expected) in &self.cases {
            let found = floats(&folder.join(format!("{name}.output")));
            assert_close(name, &found, expected);
        }
    }
}

/// Asserts that two results differ by no more than rounding.
#[track_caller]
pub fn assert_close(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0f64, |m, v| m.max(f64::from(v.abs()))).max(1e-3);
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let difference = f64::from((a - b).abs()) / largest;
        assert!(difference <= BOUND, "{name}, logit {i}: {a}, expected {b}: {difference:e}");
    }
}

/// The numbers in the file `path`.
pub fn floats(path: &Path) -> Vec<f32> {
    fs::read(path).unwrap().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

/// The bytes that ONNX reads for some images, and the images as the plan reads them.
fn images(graph: &Graph, batch: usize, form: Images) -> (Vec<u8>, Tensor) {
    let [h, w, c] = graph.info.input;
    if form == Images::Bytes {
        let bytes: Vec<u8> = (0..batch * h * w * c).map(|i| (i * 97 % 251) as u8).collect();
        let (mean, std) = (&graph.info.mean, &graph.info.std);
        let normalized = |i: usize| (f32::from(bytes[i]) / 255.0 - mean[i % c]) / std[i % c];
        let images = Tensor::from_fn(&[batch, h, w, c], normalized);
        return (bytes, images);
    }
    let images = init::normal(7, "images", &[batch, h, w, c], 1.0);
    let bytes = images.permute(&[0, 3, 1, 2]).data().iter().flat_map(|v| v.to_le_bytes()).collect();
    (bytes, images)
}

/// An architecture with few channels, whose weights and statistics are random.
pub fn small(name: &str, seed: u64) -> Graph {
    let width = if name.starts_with("cifar") || name == "small_net" { 0.5 } else { 0.12 };
    let size = if name == "alexnet" { 64 } else { 40 };
    let options = Options { width, ..Options::new(numbered_classes(7), [size, size, 3]) };
    let mut graph = build(name, &options).unwrap();
    randomize(&mut graph, seed);
    (graph.info.mean, graph.info.std) = (vec![0.48, 0.45, 0.4], vec![0.22, 0.23, 0.25]);
    graph
}

/// `graph` under every technique that changes its form.
pub fn compressed(graph: &Graph, seed: u64) -> Vec<(&'static str, Graph)> {
    let plan = random_plan(graph, seed);
    let masked = sparse(graph, &plan);
    let exact = prune(&masked, &PrunePlan::dead(&masked).unwrap(), Constants::Exact).unwrap().graph;
    let split = FactorizeConfig { fraction: Some(0.5), ..Default::default() };
    vec![
        ("pruned", prune(graph, &plan, Constants::Drop).unwrap().graph),
        ("exact", fold(&exact).unwrap().graph),
        ("compact", compact(&masked, &CompactConfig::default()).unwrap().graph),
        ("factorized", factorize(graph, &split).unwrap().graph),
        ("masked", masked),
    ]
}

fn run(folder: &Path, comparison: &Comparison) {
    if Package::Onnx.run("onnx_run.py", &[folder.to_str().unwrap()]).is_some() {
        comparison.check(folder);
    }
}

#[test]
fn every_architecture_gives_the_plans_logits() {
    let (folder, mut comparison) = (tempfile::tempdir().unwrap(), Comparison::default());
    for name in names() {
        comparison.add(folder.path(), name, &small(name, 1), &OnnxOptions::default());
    }
    run(folder.path(), &comparison);
}

#[test]
fn every_technique_gives_the_plans_logits() {
    let (folder, mut comparison) = (tempfile::tempdir().unwrap(), Comparison::default());
    let mut gathered = 0;
    for (seed, name) in
        (2..).zip(["resnet8", "vgg8_bn", "mobilenet_v2", "efficientnet_lite0", "cifar_resnet20"])
    {
        for (technique, graph) in compressed(&small(name, seed), seed) {
            let gather = OnnxOptions::default();
            comparison.add(folder.path(), &format!("{name}_{technique}"), &graph, &gather);
            if technique == "compact" {
                gathered +=
                    graph.nodes().iter().filter(|n| matches!(n.layer, Layer::CompactConv2d(_))).count();
                let dense = OnnxOptions { compact: CompactForm::Dense, ..gather };
                comparison.add(folder.path(), &format!("{name}_dense"), &graph, &dense);
            }
        }
    }
    assert!(gathered > 5, "{gathered} compact convolutions");
    run(folder.path(), &comparison);
}

#[test]
fn every_option_gives_the_plans_logits() {
    let (folder, mut comparison) = (tempfile::tempdir().unwrap(), Comparison::default());
    let nets = ["resnet8", "mobilenet_v2", "vgg8_bn", "cifar_resnet20"].map(|name| small(name, 9));
    for opset in MIN_OPSET..=MAX_OPSET {
        for (i, graph) in nets.iter().enumerate() {
            let options = OnnxOptions { opset, ..OnnxOptions::default() };
            comparison.add(folder.path(), &format!("opset{opset}_{i}"), graph, &options);
        }
    }
    let fixed = OnnxOptions { batch: Batch::Fixed(3), ..OnnxOptions::default() };
    comparison.add(folder.path(), "fixed", &nets[0], &fixed);
    let bytes = OnnxOptions { images: Images::Bytes, ..OnnxOptions::default() };
    comparison.add(folder.path(), "bytes", &nets[1], &bytes);
    let beside = OnnxOptions { external_data: true, ..OnnxOptions::default() };
    comparison.add(folder.path(), "beside", &nets[2], &beside);
    assert!(folder.path().join("beside.onnx.data").exists());
    run(folder.path(), &comparison);
}

/// Every layer with every option, in random order.
#[test]
fn random_networks_give_the_plans_logits() {
    let (folder, mut comparison) = (tempfile::tempdir().unwrap(), Comparison::default());
    let mut runner = TestRunner::deterministic();
    let random = networks().prop_map(|net| net.graph());
    for i in 0..60 {
        let graph = random.new_tree(&mut runner).unwrap().current();
        let opset = MIN_OPSET + i % (MAX_OPSET - MIN_OPSET + 1);
        let options = OnnxOptions { opset, ..OnnxOptions::default() };
        comparison.add(folder.path(), &format!("random{i}"), &graph, &options);
    }
    run(folder.path(), &comparison);
}
