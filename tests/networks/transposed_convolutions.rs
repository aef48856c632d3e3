//! Transposed convolutions are sparsified and pruned as any others: they are zeros between pixels and a convolution, whose
//! weight `[OUT, KH, KW, IN]` has its filters first, where PyTorch has them second.

use crate::support::oracle;
use crate::support::random_graph::{relative_difference, values::randomize};
use lopper_compress::granularity::GRANULARITIES;
use lopper_compress::prune::{Constants, PrunePlan, mask, prune};
use lopper_compress::{Context, Granularity, PruneConfig, SparsifyConfig, sparsify};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Tensor};
use lopper_models::builder::{Builder, Conv};
use lopper_models::init;

const INPUT: [usize; 4] = [2, 8, 8, 3];

/// An encoder that halves the image and a decoder that doubles it, with a residual sum of both.
fn network() -> Graph {
    let mut net = Builder::new([8, 8, 3], Some(1));
    net.conv("first", Conv::same(16, 3)).batch_norm("bn1").relu("relu1");
    let wide = net.at();
    net.conv("down", Conv { stride: [2; 2], ..Conv::same(24, 3) }).relu("relu2");
    // Twice the image: (4 − 1) · 2 − 2 · 1 + (4 − 1) + 1 = 8.
    net.conv_transpose("up", Conv { stride: [2; 2], padding: [1; 2], ..Conv::same(16, 4) }).batch_norm("bn2");
    net.add("sum", wide).relu("relu3");
    net.conv("last", Conv::same(8, 3)).relu("relu4");
    net.adaptive_avg_pool("pool", 1).flatten("flatten").linear("fc", 5);
    let mut graph = net.finish().unwrap();
    randomize(&mut graph, 3);
    graph
}

fn images() -> Tensor {
    init::normal(0, "images", &INPUT, 1.0)
}

/// The logits of the graph, which agree with those of the plan and of plain loops in f64.
#[track_caller]
fn logits(graph: &Graph) -> Tensor {
    let found = graph.logits(&Device::cpu(), images()).unwrap();
    let mut plan = Plan::new(graph, INPUT, &Device::cpu()).unwrap();
    let planned = Tensor::from_slice(found.shape(), plan.run(images().data()).unwrap()).unwrap();
    assert!(relative_difference(&found, &planned) < 1e-4);
    let exact = oracle::output(graph, &oracle::params(graph), lopper_engine::Mode::Eval, &images());
    let exact = Tensor::from_fn(found.shape(), |i| exact[i] as f32);
    assert!(relative_difference(&found, &exact) < 1e-4);
    found
}

#[test]
fn every_granularity_divides_a_transposed_convolution() {
    let graph = network();
    for granularity in GRANULARITIES.iter().filter(|granularity| **granularity != Granularity::LAYER) {
        let granularity = match granularity.check() {
            Ok(()) => *granularity,
            Err(_) => granularity.block(4),
        };
        let config = SparsifyConfig {
            granularity,
            include: vec!["up".into()],
            context: Context::Local,
            ..SparsifyConfig::new(0.5)
        };
        let layer = &graph.nodes()[graph.id("up").unwrap()].layer;
        // Rows and columns are of linear layers.
        let Ok(groups) = granularity.groups(layer) else {
            assert!(sparsify(&graph, &config, None).is_err(), "{granularity}");
            continue;
        };
        let sparse = sparsify(&graph, &config, None).unwrap().graph;
        let mask = sparse.param("up.weight").unwrap().mask().unwrap();
        let dead = groups.all(|i| mask.data()[i] == 0.0);
        let live = groups.all(|i| mask.data()[i] == 1.0);
        assert!(dead.iter().zip(&live).all(|(dead, live)| dead != live), "{granularity}: whole groups");
        let count = dead.iter().filter(|&&dead| dead).count();
        assert_eq!(count, (0.5 * dead.len() as f64).round() as usize, "{granularity}");
        logits(&sparse);
    }
}

#[test]
fn channels_around_a_transposed_convolution_are_removed() {
    let graph = network();
    let config = PruneConfig {
        criterion: Some("l1".parse().unwrap()),
        fraction: Some(0.5),
        context: Context::Local,
        ..PruneConfig::default()
    };
    let plan = config.plan(&graph, None).unwrap();
    let layers: Vec<String> = plan.groups.iter().map(|group| group.layers.join(" ")).collect();
    assert_eq!(layers, ["first up", "down", "last"], "the sum ties both ends");
    let pruned = prune(&graph, &plan, Constants::Drop).unwrap().graph;
    assert_eq!(pruned.param("up.weight").unwrap().value().shape(), [8, 4, 4, 12]);
    let masked = mask(&graph, &plan).unwrap().graph;
    assert!(relative_difference(&logits(&masked), &logits(&pruned)) < 1e-4);
    // What sparsification kills, pruning removes.
    let config = SparsifyConfig {
        granularity: Granularity::FILTER,
        include: vec!["down".into()],
        context: Context::Local,
        ..SparsifyConfig::new(0.25)
    };
    let sparse = sparsify(&graph, &config, None).unwrap().graph;
    let thin = PruneConfig::default().apply(&sparse, None).unwrap().graph;
    let width = thin.param("up.weight").unwrap().value().dim(3);
    // A carrier may stay, which brings the constants of the others to the border.
    assert!((18..=19).contains(&width), "{width} inputs");
    assert!(relative_difference(&logits(&sparse), &logits(&thin)) < 1e-4);
}

#[test]
fn its_channels_have_indices() {
    let graph = network();
    let plan = PrunePlan::without_inputs(&graph, "up", &[0, 23]).unwrap();
    assert_eq!(plan, PrunePlan::without_outputs(&graph, "down", &[0, 23]).unwrap());
    let plan = plan.and(&PrunePlan::without_outputs(&graph, "up", &[3]).unwrap()).unwrap();
    let pruned = prune(&graph, &plan, Constants::Drop).unwrap().graph;
    assert_eq!(pruned.param("up.weight").unwrap().value().shape(), [15, 4, 4, 22]);
    assert_eq!(pruned.param("first.weight").unwrap().value().shape(), [15, 3, 3, 3]);
}
