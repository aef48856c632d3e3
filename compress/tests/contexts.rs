//! Which layers compete, and which lose fractions of their own.

mod support;

use lopper_compress::criteria::LargeFinal;
use lopper_compress::granularity::Granularity;
use lopper_compress::sparsify::*;
use lopper_compress::{Context, PruneConfig};
use support::*;

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
    assert!(pruned.check().unwrap_err().to_string().contains("stage is for sparsify"));
}
