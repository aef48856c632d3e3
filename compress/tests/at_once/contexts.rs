//! Which layers compete, and which lose fractions of their own.

use crate::support::*;
use lopper_compress::criteria::{LargeFinal, Normalization};
use lopper_compress::granularity::Granularity;
use lopper_compress::sparsify::*;
use lopper_compress::{Context, PruneConfig};
use lopper_engine::Graph;
use lopper_engine::layer::{Conv2d, Layer, Pool, Window};

#[test]
fn layers_lose_fractions_of_their_own() {
    let mut graph = small_net(3);
    graph.info.input = [4, 4, 2];
    let config = SparsifyConfig {
        granularity: Granularity::WEIGHT,
        sparsity: Some(0.25),
        sparsities: [("body.conv*".to_string(), 0.75), ("fc1".to_string(), 0.0)].into(),
        ..SparsifyConfig::new(0.0)
    };
    let sparse = sparsify(&graph, &config, None).unwrap().graph;
    let dropped = |name: &str| sparse.param(&format!("{name}.weight")).unwrap().masked_fraction();
    for (name, expected) in
        [("body.conv1", 0.75), ("body.conv2", 0.75), ("fc1", 0.0), ("body.depthwise", 0.25)]
    {
        assert!((dropped(name) - expected).abs() < 0.02, "{name}: {}", dropped(name));
    }
    let refused = |sparsities: &[(&str, f64)], words: &str| {
        let sparsities = sparsities.iter().map(|(pattern, s)| (pattern.to_string(), *s)).collect();
        let config = SparsifyConfig { sparsities, ..config.clone() };
        let message = sparsify(&graph, &config, None).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    refused(&[("layer9", 0.5)], "`layer9` matches no layer");
    refused(&[("body.*", 0.5), ("*conv1", 0.25)], "both match `body.conv1`");
    refused(&[("fc1", 1.5)], "found 1.5");
}

/// A linear layer on a smaller scale takes the whole global cut; in a stage of its own it loses half, and so do the
/// convolutions, which compete with each other.
#[test]
fn the_layers_of_a_stage_compete() {
    let mut graph = small_net(3);
    graph.info.input = [4, 4, 2];
    graph.param_mut("fc1.weight").unwrap().update(|w| w.iter_mut().for_each(|w| *w /= 1024.0));
    let dropped = |context: Context| {
        let config = SparsifyConfig { context, granularity: Granularity::WEIGHT, ..SparsifyConfig::new(0.3) };
        let sparse = sparsify(&graph, &config, None).unwrap().graph;
        let zeros = |name: &str| {
            let mask = sparse.param(&format!("{name}.weight")).unwrap().mask().cloned();
            mask.map_or(0, |mask| mask.data().iter().filter(|&&m| m == 0.0).count())
        };
        (zeros("body.conv1") + zeros("body.depthwise") + zeros("body.conv2"), zeros("fc1"))
    };
    // 108 + 54 + 48 weights of convolutions and 80 of fc1.
    assert_eq!(dropped(Context::Stage), (63, 24));
    assert_eq!(dropped(Context::Global).1, 79, "all but the best");
    graph.info.input = [0; 3];
    let config = SparsifyConfig { context: Context::Stage, ..SparsifyConfig::new(0.3) };
    assert!(sparsify(&graph, &config, None).unwrap_err().to_string().contains("how large its images are"));
    let pruned = PruneConfig {
        criterion: Some(LargeFinal.into()),
        fraction: Some(0.5),
        context: Context::Stage,
        ..PruneConfig::default()
    };
    assert!(pruned.plan(&graph, None).unwrap_err().to_string().contains("image size"));
}

/// The channels of each group that stay, by context.
fn kept(graph: &Graph, context: Context) -> Vec<usize> {
    let config = PruneConfig {
        criterion: Some(LargeFinal.into()),
        fraction: Some(0.5),
        context,
        normalization: Some(Normalization::None),
        ..PruneConfig::default()
    };
    config.plan(graph, None).unwrap().groups.iter().map(|group| group.keep.len()).collect()
}

/// Two convolutions on 4×4 pixels, of which the second is on a smaller scale, and one on 2×2 pixels on the smallest.
#[test]
fn the_groups_of_a_stage_compete() {
    let halved = |layer: Layer| match layer {
        Layer::Conv2d(conv) => Layer::Conv2d(Conv2d { stride: [2; 2], ..conv }),
        other => other,
    };
    let mut graph = Chain::new(2)
        .then("wide", conv(8, 2, 3, 1, 1))
        .then("small", conv(8, 8, 3, 1, 2))
        .then("halved", halved(conv(8, 8, 3, 1, 3)))
        .then("last", conv(3, 8, 1, 1, 4))
        .then("pool", Layer::Pool(Pool::average(Window::Adaptive([1, 1]))))
        .then("flatten", Layer::Flatten)
        .graph;
    graph.info.input = [4, 4, 2];
    for (name, scale) in [("small", 64.0), ("halved", 4096.0)] {
        let weight = graph.param_mut(&format!("{name}.weight")).unwrap();
        weight.update(|w| w.iter_mut().for_each(|w| *w /= scale));
    }
    assert_eq!(kept(&graph, Context::Local), [4, 4, 4]);
    assert_eq!(kept(&graph, Context::Stage), [7, 1, 4], "8 of the 16 on 4×4 pixels, 4 of the 8 on 2×2");
    let global = kept(&graph, Context::Global);
    assert_eq!(global.iter().sum::<usize>(), 12);
    assert_eq!(global[1..], [3, 1], "{global:?}");
}
