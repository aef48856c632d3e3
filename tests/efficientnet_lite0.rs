//! EfficientNet-Lite0 against the code of its package in PyTorch, and under every rewrite that keeps the function.

mod support;

use lopper_compress::prune::{Constants, PrunePlan, mask, prune};
use lopper_compress::{CompactConfig, compact, fold};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Tensor, file, torchvision};
use lopper_models::{Options, build, numbered_classes, our_name};
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use support::masks::{random_plan, sparse};
use support::random_graph::{relative_difference, values::randomize};

const CLASSES: usize = 5;
const WIDTH: f64 = 0.1;

/// `fixtures/efficientnet_lite0/make.py` writes it.
#[derive(Deserialize)]
struct Fixture {
    /// Names and shapes in the package's order.
    tensors: Vec<(String, Vec<usize>)>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    size: usize,
    logits: Vec<Vec<f64>>,
}

/// The number in [-1, 1) at position `i` of the tensor `seed`, as make.py defines it.
fn number(seed: u32, i: usize) -> f64 {
    let mut h = (i as u32)
        .wrapping_mul(2_654_435_761)
        .wrapping_add(seed.wrapping_mul(2_246_822_519))
        .wrapping_add(374_761_393);
    h ^= h >> 15;
    h = h.wrapping_mul(2_246_822_519);
    h ^= h >> 13;
    f64::from(h) / f64::from(1u32 << 31) - 1.0
}

fn weights(name: &str, seed: usize, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape.iter().skip(1).product();
    let value = |i: usize| {
        let u = number(seed as u32, i);
        match shape {
            [_] if name.ends_with("running_var") || name.ends_with("weight") => 1.0 + 0.5 * u,
            [_] => 0.4 * u,
            _ => u * (6.0 / fan_in as f64).sqrt(),
        }
    };
    (0..shape.iter().product()).map(|i| value(i) as f32).collect()
}

fn network(size: usize) -> Graph {
    let options =
        Options { width: WIDTH, seed: None, ..Options::new(numbered_classes(CLASSES), [size, size, 3]) };
    build("efficientnet_lite0", &options).unwrap()
}

/// Images `[N, H, W, 3]` of the numbers that make.py draws as `[N, 3, H, W]`.
fn images(count: usize, size: usize) -> Tensor {
    Tensor::from_fn(&[count, size, size, 3], |i| {
        let (channel, pixel) = (i % 3, i / 3);
        let (image, place) = (pixel / (size * size), pixel % (size * size));
        number(10_000, (image * 3 + channel) * size * size + place) as f32
    })
}

/// At 72 pixels, some layers of stride 2 have an even and some an odd number of rows: only even ones are padded unevenly.
#[test]
fn logits_are_those_of_the_package() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("fixtures/efficientnet_lite0/logits.json")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.safetensors");
    let values: Vec<Vec<u8>> = (0..)
        .zip(&fixture.tensors)
        .map(|(i, (name, shape))| weights(name, i, shape).iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = fixture.tensors.iter().zip(&values).map(|((name, shape), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();

    let device = Device::cpu();
    for Case { size, logits } in fixture.cases {
        let mut graph = network(size);
        let rename = |theirs: &str| our_name("efficientnet_lite0", theirs);
        let report = torchvision::import_renamed(&mut graph, &path, &rename).unwrap();
        assert_eq!(report.imported, fixture.tensors.len());
        let images = images(logits.len(), size);
        let found = graph.logits(&device, images.clone()).unwrap();
        let mut planned = Plan::new(&graph, [logits.len(), size, size, 3], &device).unwrap();
        let planned = planned.run(images.data()).unwrap();
        for (i, expected) in logits.concat().iter().enumerate() {
            for (way, found) in [("graph", found.data()[i]), ("plan", planned[i])] {
                let error = (f64::from(found) - expected).abs();
                assert!(error <= 1e-4, "{size} px, {way}, logit {i}: {found}, expected {expected}");
            }
        }
        // The padding is part of the file.
        let model = directory.path().join("model.safetensors");
        file::save(&graph, &model).unwrap();
        let again = file::load(&model).unwrap().logits(&device, images).unwrap();
        assert!(again.same_bits(&found), "{size} px");
    }
}

/// Channels that are dead but constant pass uneven padding as they pass even padding.
#[test]
fn rewrites_keep_the_function() {
    for seed in 0..4 {
        let mut graph = network(32);
        randomize(&mut graph, seed);
        let difference = |before: &Graph, after: &Graph| {
            let logits = |graph: &Graph| graph.logits(&Device::cpu(), images(3, 32)).unwrap();
            relative_difference(&logits(before), &logits(after))
        };
        let plan = random_plan(&graph, seed);
        let sparse = sparse(&graph, &plan);
        let dead = PrunePlan::dead(&sparse).unwrap();
        let pairs = [
            ("folded", &graph, fold(&graph).unwrap()),
            ("pruned", &mask(&graph, &plan).unwrap().graph, prune(&graph, &plan, Constants::Drop).unwrap()),
            ("pruned exactly", &sparse, prune(&sparse, &dead, Constants::Exact).unwrap()),
            ("compact", &sparse, compact(&sparse, &CompactConfig::default()).unwrap()),
        ];
        for (what, before, after) in pairs {
            let difference = difference(before, &after.graph);
            assert!(difference <= 1e-4, "{what}, seed {seed}: {difference}\n{}", after.report);
        }
    }
}
