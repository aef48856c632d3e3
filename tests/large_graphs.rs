//! Graphs of tens of thousands of nodes take seconds: no operation is quadratic in the size of a graph, let alone
//! visits every path through it.

use lopper_compress::criteria::Random;
use lopper_compress::prune::PruneConfig;
use lopper_compress::sparsify::SparsifyConfig;
use lopper_compress::{CompactConfig, FactorizeConfig, compact, factorize, fold, sparsify};
use lopper_engine::layer::{Activation, BatchNorm, Conv2d, Linear};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Layer, Param, Tensor, file};
use std::time::{Duration, Instant};

/// Far more than any of these operations takes, even on a busy machine. Quadratic algorithms would take minutes.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs `work`, which must finish within [`LIMIT`].
#[track_caller]
fn soon<R>(what: &str, work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = work();
    let elapsed = start.elapsed();
    assert!(elapsed < LIMIT, "{what} took {elapsed:?}");
    result
}

fn conv(filters: usize, channels: usize) -> Layer {
    let weight = Tensor::from_fn(&[filters, 1, 1, channels], |i| 0.3 + 0.1 * (i % 5) as f32);
    let (stride, padding, dilation) = ([1; 2], [0; 2], [1; 2]);
    Layer::Conv2d(Conv2d {
        weight: Param::new(weight),
        bias: None,
        stride,
        padding,
        extra_padding: [0; 2],
        dilation,
        groups: 1,
    })
}

/// Builds a chain of `nodes` layers on images of one pixel with `channels` channels.
fn chain(channels: usize, nodes: usize, layer: impl Fn(usize) -> Layer) -> Graph {
    let mut graph = Graph::new(channels);
    graph.info.input = [1, 1, channels];
    for i in 0..nodes {
        graph.push(format!("l{i}"), layer(i), &[i]).unwrap();
    }
    graph
}

/// Builds a chain of convolutions, each followed by a batch norm.
fn normalized(convs: usize) -> Graph {
    chain(2, 2 * convs, |i| if i % 2 == 0 { conv(2, 2) } else { Layer::BatchNorm(BatchNorm::new(2)) })
}

#[test]
fn a_concatenation_of_a_hundred_thousand_inputs_is_planned_and_run() {
    const PARTS: usize = 100_000;
    let mut graph = chain(1, 1, |_| Layer::Activation(Activation::Relu));
    let inputs: Vec<usize> = (0..PARTS).map(|i| i % 2).collect();
    graph.push("all", Layer::Concat, &inputs).unwrap();
    let device = Device::cpu();
    let found = soon("planning and running", || {
        let mut plan = Plan::new(&graph, [1, 1, 1, 1], &device).unwrap();
        plan.run(&[-2.0]).unwrap().to_vec()
    });
    let expected: Vec<f32> = inputs.iter().map(|&i| if i == 0 { -2.0 } else { 0.0 }).collect();
    assert_eq!(found, expected);
    let image = Tensor::full(&[1, 1, 1, 1], -2.0);
    let logits = soon("a pass", || graph.logits(&device, image).unwrap());
    assert_eq!(logits.data(), expected);
}

#[test]
fn a_chain_of_a_hundred_thousand_nodes_is_built_stored_loaded_and_run() {
    const NODES: usize = 100_000;
    let graph = soon("building", || chain(1, NODES, |_| Layer::Activation(Activation::Relu6)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.safetensors");
    soon("saving", || file::save(&graph, &path).unwrap());
    let loaded = soon("loading", || file::load(&path).unwrap());
    soon("looking names up", || {
        (0..NODES).for_each(|i| assert_eq!(loaded.id(&format!("l{i}")).unwrap(), i + 1));
    });
    let device = Device::cpu();
    let mut plan = soon("planning", || Plan::new(&loaded, [1, 1, 1, 1], &device).unwrap());
    assert_eq!(soon("running", || plan.run(&[7.0]).unwrap().to_vec()), [6.0]);
    soon("costs", || loaded.costs([1, 1, 1]).unwrap());
}

#[test]
fn five_thousand_batch_norms_are_folded() {
    let graph = normalized(5_000);
    let folded = soon("folding", || fold(&graph).unwrap());
    assert_eq!(folded.graph.nodes().len(), 5_001);
    folded.graph.check().unwrap();
}

#[test]
fn ten_thousand_convolutions_are_pruned_compacted_and_sparsified() {
    let graph = normalized(10_000);
    let criterion = PruneConfig { criterion: Some(Random.into()), fraction: Some(0.5), ..Default::default() };
    let pruned = soon("pruning by a criterion", || criterion.apply(&graph, None).unwrap());
    assert!(pruned.graph.param_count() < graph.param_count());
    let masked = soon("sparsifying", || sparsify(&graph, &SparsifyConfig::new(0.4), None).unwrap()).graph;
    let dead = soon("pruning what is dead", || PruneConfig::default().apply(&masked, None).unwrap());
    assert!(dead.graph.param_count() < graph.param_count());
    soon("planning what is masked", || Plan::new(&masked, [1, 1, 1, 2], &Device::cpu()).unwrap());
    soon("compacting", || compact(&masked, &CompactConfig::default()).unwrap());
}

#[test]
fn ten_thousand_parameters_are_found_by_their_paths() {
    let mut graph = normalized(10_000);
    soon("reading and writing parameters", || {
        let paths: Vec<String> = graph.params().map(|(path, _)| path).collect();
        assert_eq!(paths.len(), 30_000);
        for path in &paths {
            assert!(!graph.param(path).unwrap().value().is_empty());
            graph.param_mut(path).unwrap().trainable = false;
        }
    });
}

#[test]
fn two_thousand_linear_layers_are_factorized() {
    let layer = |i: usize| {
        let values = Tensor::from_fn(&[4, 4], |k| ((k * 7 + i) % 11) as f32 - 5.0);
        Layer::Linear(Linear { weight: Param::new(values), bias: None })
    };
    let mut graph = Graph::new(4);
    graph.info.input = [1, 1, 4];
    graph.push("flat", Layer::Flatten, &[0]).unwrap();
    (0..2_000).for_each(|i| _ = graph.push(format!("fc{i}"), layer(i), &[i + 1]).unwrap());
    let config = FactorizeConfig { fraction: Some(0.75), ..FactorizeConfig::default() };
    let factorized = soon("factorizing", || factorize(&graph, &config).unwrap());
    assert_eq!(factorized.graph.nodes().len(), 4_002);
}

/// A chain of d sums of a value with itself has 2ᵈ paths to the output.
#[test]
fn paths_are_not_counted_one_by_one() {
    let mut graph = chain(2, 2, |_| conv(2, 2));
    for i in 0..200 {
        let last = graph.output();
        graph.push(format!("sum{i}"), Layer::Add, &[last, last]).unwrap();
    }
    let rewrite = soon("sparsifying", || sparsify(&graph, &SparsifyConfig::new(0.5), None).unwrap());
    assert!(rewrite.report.to_string().contains("output"), "{}", rewrite.report);
    soon("pruning", || PruneConfig::default().apply(&graph, None).unwrap());
    soon("folding", || fold(&graph).unwrap());
}
