//! Allocations that would not fit into memory are refused beforehand, with an error that names the layer or option, and
//! the estimated memory of a plan matches what it uses.

use crate::support::command::{lopper, lopper_after};
use lopper_engine::layer::{CompactConv2d, Conv2d, Pool, Window};
use lopper_engine::plan::{Plan, PlanOptions};
use lopper_engine::{Device, Graph, Layer, Param, Tensor, file};
use lopper_kernels::params::Dtype;
use lopper_models::data::fashion_mnist;
use lopper_models::{Options, numbered_classes};
use std::path::{Path, PathBuf};

/// Builds a network of one layer for images `[H, W, 1]`.
fn network(layer: Layer, [h, w]: [usize; 2]) -> Graph {
    let mut graph = Graph::new(1);
    graph.push("layer", layer, &[0]).unwrap();
    graph.info.input = [h, w, 1];
    graph
}

fn conv(weight: Tensor, stride: usize, padding: usize) -> Conv2d {
    let (stride, padding) = ([stride; 2], [padding; 2]);
    Conv2d {
        weight: Param::new(weight),
        bias: None,
        stride,
        padding,
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    }
}

/// Writes small files that request a lot of memory: an output of 16 GiB, a padded copy of 64 GiB, a kernel with 2³²
/// taps and no filter.
fn greedy(dir: &Path) -> [PathBuf; 3] {
    let empty = CompactConv2d {
        conv: conv(Tensor::zeros(&[0, 1 << 16, 1 << 16, 0]), 1, 1 << 15),
        inputs: Vec::new(),
        outputs: Vec::new(),
        in_width: 1,
        carrier: false,
        fill: vec![1.0],
    };
    let networks = [
        ("pool", network(Layer::Pool(Pool::average(Window::Adaptive([1 << 16; 2]))), [4; 2])),
        ("padded", network(Layer::Conv2d(conv(Tensor::full(&[1, 3, 3, 1], 0.1), 1 << 16, 1 << 16)), [3; 2])),
        ("empty", network(Layer::CompactConv2d(empty), [1; 2])),
    ];
    networks.map(|(name, graph)| {
        let path = dir.join(format!("{name}.safetensors"));
        file::save(&graph, &path).unwrap();
        path
    })
}

#[test]
fn every_command_refuses_files_that_need_too_much_memory() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.safetensors");
    let out = out.to_str().unwrap();
    for path in greedy(dir.path()) {
        let model = path.to_str().unwrap();
        for command in [
            &["bench", model, "--seconds", "0"][..],
            &["diff", model, model],
            &["fold", model, "--out", out],
            &["prune", model, "--out", out],
            &["compact", model, "--out", out],
            &["sparsify", model, "--sparsity", "0.5", "--epochs", "0", "--out", out],
            &["factorize", model, "--fraction", "0.5", "--out", out],
        ] {
            let limited = [command, &["--max-memory", "2GB"]].concat();
            let run = lopper(&limited);
            run.refused(&["`layer`"]);
            // An activation of four such images exceeds any machine and is refused without a budget.
            let for_its_memory = run.err.contains("GiB are available (--max-memory)");
            assert!(for_its_memory || run.err.contains("holds more than 4294967296 values"), "{}", run.err);
        }
        lopper(&["summary", model, "--max-memory", "2GB"]).succeeded();
    }
    assert!(!Path::new(out).exists());
}

#[cfg(target_os = "linux")]
#[test]
fn the_address_space_limit_applies_without_an_option() {
    let dir = tempfile::tempdir().unwrap();
    for path in greedy(dir.path()) {
        let bench = ["bench", path.to_str().unwrap(), "--seconds", "0"];
        lopper_after("ulimit -v 4194304", &bench).refused(&["take", "are available"]);
    }
}

#[test]
fn options_that_need_too_much_memory_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.safetensors");
    let out = out.to_str().unwrap();
    let mut network =
        lopper_models::build("resnet8", &Options::new(numbered_classes(10), [32, 32, 3])).unwrap();
    (network.info.mean, network.info.std) = (vec![fashion_mnist::MEAN; 3], vec![fashion_mnist::STD; 3]);
    let model = dir.path().join("model.safetensors");
    file::save(&network, &model).unwrap();
    let model = model.to_str().unwrap();
    let train = ["train", "--arch", "vgg8_bn", "--data", "fashion-mnist", "--epochs", "1", "--out", out];
    for (args, words) in [
        (&["bench", "resnet8", "--size", "32", "--batch", "4294967295"][..], &["--batch 4294967295"][..]),
        (&["bench", "resnet18", "--size", "16384", "--batch", "4294967295"], &["--batch 4294967295"]),
        (
            &["bench", "resnet8", "--size", "32", "--batch", "1000", "--max-memory", "50MB"],
            &["layer", "take"],
        ),
        (
            &["bench", "resnet8", "--size", "32", "--batch", "500", "--training", "--max-memory", "100MB"],
            &["training step", "layer"],
        ),
        (&["summary", "resnet152", "--max-memory", "50MB"], &["layer `layer", "its weights take"]),
        (
            &["summary", "vgg16", "--classes", "65536", "--max-memory", "1GB"],
            &["layer `classifier.6`: its weights take 1.0 GiB"],
        ),
        (
            &[
                "eval",
                model,
                "--data",
                "fashion-mnist",
                "--batch",
                "900",
                "--size",
                "512",
                "--max-memory",
                "1GB",
            ],
            &["batch: up to ", "900 images of 512×512 pixels take", "GiB"],
        ),
        (&[&train[..], &["--batch", "500", "--max-memory", "120MB"]].concat(), &["training step", "take"]),
    ] {
        lopper(args).refused(&[words, &["--max-memory"]].concat());
    }
    assert!(!Path::new(out).exists());
}

#[test]
fn a_file_larger_than_memory_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wide.safetensors");
    // Weights of one value would be stored as codes.
    let weights = (0..4096).map(|i| i as f32 / 4096.0).collect();
    let graph =
        network(Layer::Conv2d(conv(Tensor::from_vec(&[4096, 1, 1, 1], weights).unwrap(), 1, 0)), [1; 2]);
    file::save(&graph, &path).unwrap();
    let model = path.to_str().unwrap();
    lopper(&["summary", model, "--max-memory", "10kB"])
        .refused(&["wide.safetensors: its tensors take 32.0 KiB"]);
}

/// Allowed ratio of estimate to actual use: it covers rounding to whole tables and buffers that not every plan needs.
const FACTOR: u64 = 3;
/// Additional allowance for small plans, in bytes.
const SLACK: u64 = 4 << 20;

#[test]
fn a_plan_uses_the_estimated_memory() {
    let options = [
        PlanOptions::default(),
        PlanOptions { direct: true, ..PlanOptions::default() },
        PlanOptions { linear: Dtype::Bf16, ..PlanOptions::default() },
    ];
    for (name, size) in [("resnet8", 32), ("vgg8_bn", 32), ("resnet18", 64), ("vgg11", 64), ("small_net", 64)]
    {
        let built = Options::new(numbered_classes(10), [size, size, 3]);
        let graph = lopper_models::build(name, &built).unwrap();
        for (batch, options) in [(1, options[0]), (5, options[0]), (2, options[1]), (2, options[2])] {
            // A separate device, because scratch is counted per device.
            let device = Device::open("cpu", Some(2)).unwrap();
            let input = [batch, size, size, 3];
            let mut plan = Plan::with(&graph, input, &device, options).unwrap();
            plan.run(&vec![0.5; input.iter().product()]).unwrap();
            let memory = plan.memory();
            let held = (memory.weights + memory.arena + memory.scratch) as u64;
            let budget = plan.budget();
            assert!(held <= budget, "{name}, {batch} images, {options:?}: {held} held, {budget} estimated");
            assert!(
                budget <= FACTOR * held + SLACK,
                "{name}, {batch} images, {options:?}: {held} held, {budget} estimated"
            );
        }
    }
}

/// Runs in a separate process, so that the peak is that of this training only.
#[cfg(target_os = "linux")]
#[test]
fn a_training_stays_within_its_estimate() {
    let peak = |bench: &[&str], limit: &str| {
        let limited = [&["bench", "vgg8_bn", "--size", "32", "--training", "--seconds", "0"], bench].concat();
        lopper(&[&limited[..], &["--threads", "2", "--max-memory", limit]].concat())
    };
    // A training that is accepted within a limit also runs within a slightly larger address space limit.
    let limit_kib = 400 << 10;
    let fits = ["--batch", "64"];
    peak(&fits, "400MiB").succeeded();
    let bench = ["bench", "vgg8_bn", "--size", "32", "--training", "--seconds", "0", "--threads", "2"];
    let code_and_stacks_kib = 200 << 10;
    let before = format!("ulimit -v {}", limit_kib + code_and_stacks_kib);
    lopper_after(&before, &[&bench[..], &fits].concat()).succeeded();
    peak(&["--batch", "2000"], "400MiB").refused(&["training step"]);
}
