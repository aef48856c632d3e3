//! Weight sharing at once and while training, and what it makes of a file.

use crate::support::{Chain, conv, linear, small_net, train};
use lopper_compress::techniques::Technique;
use lopper_compress::{Granularity, ShareConfig, Sharer, SparsifyConfig, share, sparsify};
use lopper_engine::rewrite::Outcome;
use lopper_engine::train::{CrossEntropy, Optimizer, OptimizerConfig};
use lopper_engine::{Graph, Layer, file};
use std::collections::HashSet;

/// The different live values of a weight.
fn values(graph: &Graph, path: &str) -> HashSet<u32> {
    let param = graph.param(path).unwrap();
    let live = |i: usize| param.mask().is_none_or(|mask| mask.data()[i] != 0.0);
    let weights = param.value().data().iter().enumerate();
    weights.filter(|(i, _)| live(*i)).map(|(_, w)| w.to_bits()).collect()
}

fn wide() -> Graph {
    let mut graph = Chain::new(8)
        .then("conv", conv(16, 8, 3, 1, 1))
        .then("flatten", Layer::Flatten)
        .then("fc", linear(40, 16 * 16, 2))
        .graph;
    graph.info.input = [4, 4, 8];
    graph
}

#[test]
fn a_layer_takes_as_many_values_as_its_bits_allow() {
    let config = ShareConfig { bits: 4, linear_bits: Some(2), ..ShareConfig::default() };
    let shared = share(&wide(), &config).unwrap();
    assert_eq!(values(&shared.graph, "conv.weight").len(), 16);
    assert_eq!(values(&shared.graph, "fc.weight").len(), 4);
    let Outcome::Changed(text) = &shared.report.nodes[1].1 else { panic!("{}", shared.report) };
    assert!(text.starts_with("4 values, ") && text.contains("bits a live weight"), "{text}");
    let excluded = ShareConfig { exclude: vec!["fc".into()], ..config.clone() };
    let partly = share(&wide(), &excluded).unwrap();
    assert!(values(&partly.graph, "fc.weight").len() > 1000);
    let again = share(&wide(), &config).unwrap().graph;
    for ((path, a), (_, b)) in shared.graph.params().zip(again.params()) {
        assert!(a.value().same_bits(b.value()), "{path}");
    }
}

#[test]
fn masked_weights_stay_zero_and_the_file_shrinks_and_reads_back() {
    let sparse = SparsifyConfig {
        granularity: Granularity::WEIGHT,
        include: vec!["conv".into(), "fc".into()],
        ..SparsifyConfig::new(0.8)
    };
    let dense = wide();
    let masked = sparsify(&dense, &sparse, None).unwrap().graph;
    let shared = share(&masked, &ShareConfig { bits: 4, ..ShareConfig::default() }).unwrap().graph;
    let sizes = [&dense, &masked, &shared].map(|graph| file::size(graph).unwrap());
    // 11,392 weights: 45 KB, then a bit each and a fifth of the values, then about four bits for a value.
    assert!(sizes[1] < sizes[0] * 3 / 10, "{sizes:?}");
    assert!(sizes[2] < sizes[0] / 8, "{sizes:?}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shared.safetensors");
    for graph in [&masked, &shared] {
        file::save(graph, &path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), file::size(graph).unwrap());
        let loaded = file::load(&path).unwrap();
        for ((path, a), (_, b)) in graph.params().zip(loaded.params()) {
            assert!(a.value().same_bits(b.value()), "{path}");
            assert_eq!(a.mask().map(|m| m.data().to_vec()), b.mask().map(|m| m.data().to_vec()), "{path}");
        }
    }
    let pruned = shared.param("fc.weight").unwrap();
    assert!(pruned.masked_fraction() > 0.7);
}

#[test]
fn training_keeps_the_clusters_and_moves_their_values() {
    let mut graph = small_net(3);
    graph.info.input = [4, 4, 2];
    let config = ShareConfig { bits: 3, ..ShareConfig::default() };
    let before = share(&graph, &config).unwrap().graph;
    let mut sharer = Sharer::new(config).unwrap();
    let mut optimizer =
        Optimizer::new(OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 });
    train(&mut graph, &mut optimizer, 3, &mut CrossEntropy::default(), vec![&mut sharer]).unwrap();
    for path in ["body.conv1.weight", "fc1.weight"] {
        assert!(values(&graph, path).len() <= 8, "{path}");
        assert_ne!(values(&graph, path), values(&before, path), "{path} was trained");
    }
}

#[test]
fn bits_out_of_range_are_refused() {
    for (bits, linear_bits) in [(0, None), (13, None), (4, Some(0)), (4, Some(32))] {
        let config = ShareConfig { bits, linear_bits, ..ShareConfig::default() };
        let message = Technique::check(&config).unwrap_err().to_string();
        assert!(message.contains("1 to 12 bits"), "{message}");
    }
    let unknown = ShareConfig { include: vec!["classifier".into()], ..ShareConfig::default() };
    assert!(share(&small_net(3), &unknown).unwrap_err().to_string().contains("`classifier`"));
}
