//! Pruning of real architectures: published counts, residual groups, and plans that are stored and replayed.

use crate::support::random_graph::{relative_difference, values::randomize};
use lopper_compress::criteria::{BatchNormGamma, Criterion, LargeFinal, Random, Scoring};
use lopper_compress::factorize::factor_params;
use lopper_compress::prune::{Constants, PrunePlan, UnitScores, mask, prune};
use lopper_compress::{CompactConfig, Context, FactorizeConfig, PruneConfig, compact, fold};
use lopper_engine::rewrite::Outcome;
use lopper_engine::{Device, Graph, Layer, Tensor};
use lopper_models::builder::{Builder, Conv};
use lopper_models::{Head, Options, build, init, numbered_classes};
use std::collections::BTreeMap;

/// Builds an architecture with random weights and statistics for square images of `size`. Without a seed the weights
/// are zero, which suffices for counting.
fn network(name: &str, size: usize, seed: Option<u64>) -> Graph {
    let options = Options { seed: None, ..Options::new(numbered_classes(10), [size, size, 3]) };
    let mut graph = build(name, &options).unwrap();
    if let Some(seed) = seed {
        randomize(&mut graph, seed);
    }
    graph
}

fn scores(graph: &Graph, criterion: impl Into<Criterion>) -> UnitScores {
    UnitScores::new(graph, &Scoring::new(&criterion.into()).seed(1), |_| true).unwrap()
}

/// Returns the parameter counts of all layers with parameters, in graph order.
fn params_by_layer(graph: &Graph) -> Vec<usize> {
    let count = |layer: &Layer| layer.params().iter().map(|(_, p)| p.value().len()).sum();
    graph.nodes().iter().map(|node| count(&node.layer)).filter(|&n| n > 0).collect()
}

#[test]
fn vgg16_has_the_published_size_after_each_step() {
    let kept = [64, 64, 128, 128, 256, 256, 256, 186, 149, 142, 165, 147, 171];
    let graph = network("vgg16_bn", 128, None);
    let convs = graph.nodes().iter().filter(|node| matches!(node.layer, Layer::Conv2d(_)));
    let counts: BTreeMap<String, usize> = convs.map(|node| node.name.clone()).zip(kept).collect();
    let plan = PrunePlan::highest(&graph, &scores(&graph, Random), &counts).unwrap();
    let pruned = prune(&graph, &plan, Constants::Drop).unwrap().graph;
    assert_eq!(pruned.param_count(), 54_411_224);
    let folded = fold(&pruned).unwrap().graph;
    assert_eq!(folded.param_count(), 54_407_000);
    assert!(folded.nodes().iter().all(|node| !matches!(node.layer, Layer::BatchNorm(_))));
    // Counted without decomposing: decomposing 4096 × 8379 is slow.
    let half = FactorizeConfig { fraction: Some(0.5), ..FactorizeConfig::default() };
    let mut params = folded.param_count() as usize;
    let mut ranks = Vec::new();
    for node in folded.nodes() {
        let Layer::Linear(linear) = &node.layer else { continue };
        let (outputs, inputs) = (linear.out_features(), linear.in_features());
        let rank = half.rank(outputs, inputs).unwrap();
        params = params - outputs * inputs + factor_params(rank, outputs, inputs);
        ranks.push(rank);
    }
    assert_eq!((params, ranks.as_slice()), (45_614_986, &[2048, 2048, 5][..]));
}

#[test]
fn the_small_net_loses_30_percent_of_each_layer() {
    let graph = network("small_net", 128, Some(3));
    assert_eq!(params_by_layer(&graph), [1_520, 40, 25_050, 100, 125_100, 200, 5_050, 510]);
    let config = PruneConfig {
        criterion: Some(LargeFinal.into()),
        fraction: Some(0.3),
        context: Context::Local,
        ..PruneConfig::default()
    };
    let pruned = config.apply(&graph, None).unwrap();
    assert_eq!(params_by_layer(&pruned.graph), [1_064, 28, 12_285, 70, 61_320, 140, 3_550, 510]);
}

#[test]
fn pruning_the_student_net_equals_building_it_narrower() {
    let graph = network("student_net", 64, None);
    let scores = scores(&graph, BatchNormGamma);
    for step in 1..=5 {
        let width = 0.95_f64.powi(step);
        let channels = [(3, 128), (4, 256), (5, 256), (6, 256)];
        // Channels 3 to 6, which the 1×1 convolutions of these blocks output.
        let count = |(block, channels): (usize, usize)| {
            (format!("cnn.{block}.3"), (channels as f64 * width) as usize)
        };
        let counts = channels.into_iter().map(count).collect();
        let plan = PrunePlan::highest(&graph, &scores, &counts).unwrap();
        let pruned = prune(&graph, &plan, Constants::Drop).unwrap().graph;
        let options = Options { width, seed: None, ..Options::new(numbered_classes(10), [64, 64, 3]) };
        assert_eq!(params_by_layer(&pruned), params_by_layer(&build("student_net", &options).unwrap()));
    }
}

/// Builds conv3×3 (8 filters) ─ bn ─ relu ─ conv3×3, both padded, with filters 0 to 2 masked. After the ReLU these are
/// max(0, β − γμ/√(σ² + ε)).
fn dead_behind_relu(beta: f32) -> Graph {
    let mut net = Builder::new([6, 6, 3], Some(1));
    net.conv("conv1", Conv::same(8, 3)).batch_norm("bn").relu("relu").conv("conv2", Conv::same(4, 3));
    let mut graph = net.finish().unwrap();
    graph.info.input = [6, 6, 3];
    let mask = Tensor::from_fn(&[8, 3, 3, 3], |i| f32::from(i / 27 > 2));
    graph.param_mut("conv1.weight").unwrap().set_mask(Some(mask)).unwrap();
    graph.param_mut("bn.bias").unwrap().update(|b| b.fill(beta));
    graph
}

#[test]
fn a_carrier_brings_the_constant_of_dead_channels_to_the_padded_border() {
    let images = init::normal(0, "images", &[2, 6, 6, 3], 1.0);
    let logits = |graph: &Graph| graph.logits(&Device::cpu(), images.clone()).unwrap();
    // Dead channels that are zero need no carrier; each policy removes them and preserves the function.
    for (beta, exact, kept) in [(0.75, true, 6), (0.75, false, 5), (-0.75, true, 5), (-0.75, false, 5)] {
        let graph = dead_behind_relu(beta);
        let plan = PrunePlan::dead(&graph).unwrap();
        let policy = if exact { Constants::Exact } else { Constants::Drop };
        let pruned = prune(&graph, &plan, policy).unwrap();
        assert_eq!(pruned.graph.param("conv2.weight").unwrap().value().shape(), [4, 3, 3, kept]);
        let gap = logits(&graph).max_difference(&logits(&pruned.graph)).unwrap();
        assert_eq!(gap < 1e-5, exact || beta < 0.0, "β = {beta}, {policy}: {gap}");
        let told = if beta < 0.0 {
            "3 zero removed"
        } else if exact {
            "2 constant removed (up to 0.750), 1 dead kept"
        } else {
            "3 constant removed (up to 0.750)"
        };
        assert!(pruned.report.to_string().contains(told), "{}", pruned.report);
    }
    let dense = dead_behind_relu(0.75);
    let compact = compact(&dense, &CompactConfig::default()).unwrap();
    assert!(compact.report.to_string().contains("5 of 8 inputs and a carrier"), "{}", compact.report);
    assert!(logits(&dense).max_difference(&logits(&compact.graph)).unwrap() < 1e-5);
}

#[test]
fn folding_removes_every_batch_norm_that_a_weight_can_absorb() {
    for (name, head) in [
        ("vgg11_bn", Head::Own),
        ("resnet50", Head::Own),
        ("cifar_resnet20", Head::Own),
        ("student_net", Head::Own),
        ("mobilenet_v2", Head::Own),
        ("efficientnet_lite0", Head::Own),
        ("small_net", Head::Own),
        ("resnet18", Head::Fastai),
    ] {
        let options = Options { head, seed: None, ..Options::new(numbered_classes(10), [64, 64, 3]) };
        let folded = fold(&build(name, &options).unwrap()).unwrap();
        assert_eq!(folded.report.changed_count(), folded.report.nodes.len(), "{name}: {}", folded.report);
        assert!(folded.graph.nodes().iter().all(|node| !matches!(node.layer, Layer::BatchNorm(_))), "{name}");
    }
}

#[test]
fn residual_networks_prune_by_stage() {
    for name in ["resnet18", "resnet50", "cifar_resnet20", "mobilenet_v2", "efficientnet_lite0"] {
        let graph = network(name, 32, Some(5));
        let plan = PrunePlan::lowest(&graph, &scores(&graph, LargeFinal), Context::Local, 0.5).unwrap();
        let pruned = prune(&graph, &plan, Constants::Drop).unwrap();
        let images = init::normal(0, "images", &[2, 32, 32, 3], 1.0);
        let logits = |graph: &Graph| graph.logits(&Device::cpu(), images.clone()).unwrap();
        let masked = mask(&graph, &plan).unwrap().graph;
        assert!(relative_difference(&logits(&masked), &logits(&pruned.graph)) <= 1e-4, "{name}");
        assert!(
            pruned.graph.param_count() * 3 < graph.param_count(),
            "half the channels are a quarter of the weights"
        );
        let residual: Vec<&str> = plan.groups[0].layers.iter().map(String::as_str).collect();
        if name == "resnet18" {
            assert_eq!(residual, ["conv1", "layer1.0.conv2", "layer1.1.conv2"]);
        }
        let (_, classifier) = pruned.report.nodes.last().unwrap();
        assert!(
            matches!(classifier, Outcome::Changed(how) if how.contains("→ [10, ")),
            "only its inputs are cut"
        );
    }
}

#[test]
fn a_plan_can_be_printed_stored_and_replayed() {
    let graph = network("cifar_resnet20", 32, Some(7));
    let plan = PrunePlan::lowest(&graph, &scores(&graph, Random), Context::Global, 0.4).unwrap();
    let printed = plan.to_string();
    // 16, 16 and 32 units that the three stages share, and 16, 32 and 64 inside each of three blocks.
    assert!(printed.starts_with("plan: 240 of 400 channels stay\n  conv1 and 9 more"), "{printed}");
    let replays: [PrunePlan; 2] = [
        toml::from_str(&toml::to_string(&plan).unwrap()).unwrap(),
        serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap(),
    ];
    let pruned = prune(&graph, &plan, Constants::Exact).unwrap();
    for replay in replays {
        assert_eq!(replay, plan);
        let again = prune(&graph, &replay, Constants::Exact).unwrap();
        for ((path, a), (_, b)) in pruned.graph.params().zip(again.graph.params()) {
            assert!(a.value().same_bits(b.value()), "{path}");
        }
    }
    assert!(toml::from_str::<PrunePlan>("[[groups]]\nlayer = [\"conv1\"]").is_err(), "an unknown key");
}

#[test]
fn a_plan_that_does_not_fit_is_refused() {
    let graph = network("small_net", 64, None);
    let plan = |layer: &str, units: usize, keep: &[usize]| PrunePlan {
        groups: vec![lopper_compress::prune::GroupPlan {
            layers: vec![layer.into()],
            units,
            keep: keep.to_vec(),
        }],
    };
    for (plan, complaint) in [
        (plan("fc2", 10, &[0]), "fc2 cannot be removed: they are tied to the network's output"),
        (plan("conv9", 20, &[0]), "no group of channels made by conv9"),
        (plan("conv1", 20, &[]), "conv1: keep: a group keeps at least one channel, found none"),
        (plan("conv1", 20, &[20]), "conv1: keep: expected channels of the group, found 20"),
        (plan("conv1", 32, &[0]), "conv1: made for 32 channels, found 20"),
    ] {
        let error = prune(&graph, &plan, Constants::Exact).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
    let config = |toml: &str| toml::from_str::<PruneConfig>(toml).unwrap();
    for (config, complaint) in [
        (config("fraction = 0.5"), "of which criterion"),
        (config("criterion = \"random\""), "expected a fraction of channels to remove beside it"),
        (config("criterion = \"random\"\nfraction = 1.5"), "found 1.5"),
        (config("exclude = [\"classifier\"]"), "no layer called `classifier`"),
    ] {
        let error = config.apply(&graph, None).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
    assert!(toml::from_str::<PruneConfig>("fractoin = 0.5").is_err());
}
