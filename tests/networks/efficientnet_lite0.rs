//! EfficientNet-Lite0 against the code of its package in PyTorch, and under every rewrite that keeps the function.

use crate::support::by_formula::{images, weights};
use crate::support::masks::{random_plan, sparse};
use crate::support::random_graph::{relative_difference, values::randomize};
use lopper_compress::prune::{Constants, PrunePlan, mask, prune};
use lopper_compress::{CompactConfig, compact, fold};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, file, torchvision};
use lopper_models::{Options, build, numbered_classes, our_name};
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;

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

fn network(size: usize) -> Graph {
    let options =
        Options { width: WIDTH, seed: None, ..Options::new(numbered_classes(CLASSES), [size, size, 3]) };
    build("efficientnet_lite0", &options).unwrap()
}

/// At 72 pixels, some layers of stride 2 have an even and some an odd number of rows: only even ones are padded unevenly.
#[test]
fn logits_are_those_of_the_package() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../fixtures/efficientnet_lite0/logits.json")).unwrap();
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
