//! Networks that shrink: exact widths over rounds of a stage, and published counts while training.

use crate::support::random_graph::{networks, values::randomize};
use lopper::recipe::{Recipe, Stage};
use lopper_compress::Context;
use lopper_compress::criteria::{LargeFinal, Random};
use lopper_compress::prune::{Constants, PruneConfig, Pruner};
use lopper_compress::sparsify::SparsitySchedule;
use lopper_compress::techniques::Technique;
use lopper_engine::train::{Callback, Progress};
use lopper_engine::{Device, Graph, Layer};
use lopper_models::{Options, build, numbered_classes};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

fn network(arch: &str, classes: usize, size: usize) -> Graph {
    let options = Options { seed: None, ..Options::new(numbered_classes(classes), [size, size, 3]) };
    build(arch, &options).unwrap()
}

/// The stages of a recipe: `baseline`, which is `arch`, and then `stages`.
fn stages(arch: &str, stages: &str) -> lopper_engine::Result<Vec<Stage>> {
    let first =
        format!("[data]\nname = \"fashion-mnist\"\n[[stage]]\nname = \"baseline\"\narch = \"{arch}\"\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{first}{stages}")).unwrap();
    Recipe::read(file.path(), None).map(|recipe| recipe.stages)
}

/// Applies the rewrites of `stages`, which follow `baseline`, and returns every network.
fn rewritten(baseline: Graph, stages: &[Stage]) -> Vec<Graph> {
    let mut done = HashMap::from([(stages[0].name.clone(), baseline.clone())]);
    let mut last = baseline;
    for stage in &stages[1..] {
        let stage = stage.resolve(|name| Ok(done[name].clone())).unwrap();
        let mut graph = stage.from.as_ref().map_or(&last, |from| &done[from]).clone();
        for technique in stage.rewrites() {
            graph = technique.apply(&graph, None).unwrap().rewrite.graph;
        }
        done.insert(stage.name.clone(), graph.clone());
        last = graph;
    }
    stages.iter().map(|stage| done[&stage.name].clone()).collect()
}

/// Food-11 has 11 classes. Only the channels 3 to 6 of StudentNet are cut, each with the depthwise convolution and batch
/// norm of the next block, by whose γ they are scored.
const STUDENT: &str = r#"
[[stage]]
name = "slim"
repeat = 5
[stage.prune]
criterion = "batch_norm_gamma"
width = 0.95
include = ["cnn.3.3", "cnn.4.3", "cnn.5.3", "cnn.6.3"]
"#;

#[test]
fn five_rounds_of_slimming_have_the_published_counts() {
    let stages = stages("student_net", STUDENT).unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["baseline", "slim-1", "slim-2", "slim-3", "slim-4", "slim-5"]);
    let mut baseline = network("student_net", 11, 64);
    randomize(&mut baseline, 3);
    let networks = rewritten(baseline, &stages);
    let counts: Vec<u64> = networks.iter().map(Graph::param_count).collect();
    assert_eq!(counts, [256_779, 236_066, 217_850, 200_354, 185_091, 171_606]);
    // Each round counts the channels of the first network: int(0.95ᵏ · 256) and int(0.95ᵏ · 128), k = 0 … 5, while
    // int(0.95 · previous) ends at 195 and 97.
    let width = |graph: &Graph, layer: &str| graph.param(&format!("{layer}.weight")).unwrap().value().dim(0);
    let widths = |layer: &str| networks.iter().map(|graph| width(graph, layer)).collect::<Vec<_>>();
    assert_eq!(widths("cnn.4.3"), [256, 243, 231, 219, 208, 198]);
    assert_eq!(widths("cnn.3.3"), [128, 121, 115, 109, 104, 99]);
    assert_eq!(widths("cnn.7.0"), widths("cnn.6.3"), "the depthwise convolution behind is cut alike");
    assert_eq!(widths("cnn.7.3"), [256; 6], "the last block is not");
}

/// The channels that stay are those with the largest γ of the batch norm behind the next depthwise convolution.
#[test]
fn the_channels_with_the_largest_scales_stay() {
    let mut baseline = network("student_net", 11, 64);
    randomize(&mut baseline, 5);
    let gamma = baseline.param("cnn.4.1.weight").unwrap().value().data().to_vec();
    let networks = rewritten(baseline, &stages("student_net", STUDENT).unwrap());
    let mut sorted: Vec<f32> = gamma.iter().map(|g| g.abs()).collect();
    sorted.sort_by(f32::total_cmp);
    for (graph, kept) in networks.iter().zip([128, 121, 115, 109, 104, 99]) {
        let expected: Vec<f32> = gamma.iter().copied().filter(|g| g.abs() >= sorted[128 - kept]).collect();
        assert_eq!(graph.param("cnn.4.1.weight").unwrap().value().data(), expected);
    }
}

#[test]
fn a_stage_that_repeats_becomes_stages() {
    let read = |keys: &str| stages("vgg8_bn", keys);
    let train = "train = { epochs = 1, learning_rate = 1e-3 }";
    let expanded = read(&format!(
        "[[stage]]\nname = \"a\"\nrepeat = 2\nfold = {{}}\n{train}\n[[stage]]\nname = \"b\"\nfrom = \"baseline\"\nrepeat = 2\nslim = {{ l1 = 1e-3 }}\n{train}\n"
    ))
    .unwrap();
    let found: Vec<(&str, Option<&str>)> =
        expanded.iter().map(|stage| (stage.name.as_str(), stage.from.as_deref())).collect();
    let expected = [
        ("baseline", None),
        ("a-1", None),
        ("a-2", Some("a-1")),
        ("b-1", Some("baseline")),
        ("b-2", Some("b-1")),
    ];
    assert_eq!(found, expected);
    assert!(expanded[1..].iter().all(|stage| stage.train.is_some() && stage.techniques.len() == 1));
    let prune = |options: &str| format!("[[stage]]\nname = \"a\"\nrepeat = 2\nprune = {{ {options} }}\n");
    for (keys, words) in [
        (
            "[[stage]]\nname = \"a\"\nrepeat = 0\nfold = {}\n".to_string(),
            "stage `a`: repeat: expected 1 to 1000 rounds, found 0",
        ),
        ("[[stage]]\nname = \"a\"\nrepeat = 1001\nfold = {}\n".into(), "found 1001"),
        (
            "[[stage]]\nname = \"a\"\nrepeat = 2\narch = \"vgg8_bn\"\n".into(),
            "stage `a`: repeat: every round would build `arch`",
        ),
        (
            "[[stage]]\nname = \"a-2\"\nfold = {}\n[[stage]]\nname = \"a\"\nrepeat = 2\nfold = {}\n".into(),
            "an earlier stage has the same name",
        ),
        (format!("{}save_plan = \"p\"\n", prune("")), "`save_plan`: a plan is for one network"),
        (prune("criterion = \"random\", widths = { a = 1 }"), "all rounds would keep the same numbers"),
        (
            prune("criterion = \"random\", width = 0.5, relative_to = \"nothing\""),
            "`nothing` is neither an earlier stage",
        ),
        (
            format!("[[stage]]\nname = \"a\"\nfrom = \"b\"\nrepeat = 2\n{train}\n"),
            "stage `a-1`: `b` is neither",
        ),
    ] {
        let message = read(&keys).unwrap_err().to_string();
        assert!(message.contains(words), "{keys}: {message}");
    }
    let first = "[data]\nname = \"fashion-mnist\"\n[[stage]]\nname = \"a\"\nrepeat = 2\nfold = {}\n";
    let message = Recipe::parse(first).unwrap_err().to_string();
    assert!(message.contains("the first stage needs `arch` or `from`"), "{message}");
}

/// What `relative_to` counts is another network's channels, not those that are left.
#[test]
fn a_width_can_refer_to_an_earlier_network() {
    let stages = stages(
        "small_net",
        "[[stage]]\nname = \"half\"\nprune = { criterion = \"random\", fraction = 0.5, context = \"local\", constants = \"drop\" }\n\
         [[stage]]\nname = \"third\"\nprune = { criterion = \"random\", width = 0.34, relative_to = \"baseline\", constants = \"drop\" }\n\
         [[stage]]\nname = \"wide\"\nfrom = \"half\"\nprune = { criterion = \"random\", width = 0.9, relative_to = \"baseline\" }\n",
    )
    .unwrap();
    let mut baseline = network("small_net", 10, 64);
    randomize(&mut baseline, 7);
    let networks = rewritten(baseline.clone(), &stages[..3]);
    let widths = |graph: &Graph| {
        ["conv1", "conv2", "conv3"].map(|l| graph.param(&format!("{l}.weight")).unwrap().value().dim(0))
    };
    assert_eq!(networks.iter().map(widths).collect::<Vec<_>>(), [[20, 50, 100], [10, 25, 50], [6, 17, 34]]);
    let stage = stages[3].resolve(|_| Ok(baseline.clone())).unwrap();
    let error = stage.techniques[0].apply(&networks[1], None).unwrap_err().to_string();
    assert!(error.contains("`conv1` keeps 1 to 10 channels, found 18"), "{error}");
    let unresolved: &Arc<dyn Technique> = &stages[3].techniques[0];
    assert!(
        unresolved.apply(&networks[1], None).unwrap_err().to_string().contains("the widths of `baseline`")
    );
}

/// The parameters of a VGG with batch norms and convolutions of `widths` channels on RGB images, whose classifier reads
/// `pixels` pixels of the last one, with hidden widths `hidden`.
fn vgg_params(widths: &[usize], pixels: usize, hidden: &[usize], classes: usize) -> usize {
    let inputs = std::iter::once(3).chain(widths.iter().copied());
    // 3×3 weights and a bias for each filter; γ and β.
    let body: usize = inputs.zip(widths).map(|(c, o)| 9 * c * o + o + 2 * o).sum();
    let features = std::iter::once(widths.last().unwrap() * pixels).chain(hidden.iter().copied());
    body + features.zip(hidden.iter().copied().chain([classes])).map(|(i, o)| i * o + o).sum::<usize>()
}

/// The published pruning callback: 5 epochs, cosine, half of 4224 filters across the network.
#[test]
fn vgg16_shrinks_to_the_published_size_epoch_by_epoch() {
    let kept = [64, 64, 128, 128, 256, 256, 256, 186, 149, 142, 165, 147, 171];
    let graph = network("vgg16_bn", 10, 128);
    let convs = graph.nodes().iter().filter(|node| matches!(node.layer, Layer::Conv2d(_)));
    let layers: Vec<String> = convs.map(|node| node.name.clone()).collect();
    let config = PruneConfig {
        criterion: Some(Random.into()),
        widths: layers.iter().cloned().zip(kept).collect(),
        constants: Constants::Drop,
        schedule: Some(SparsitySchedule::Cosine),
        ..PruneConfig::default()
    };
    let mut pruner = Pruner::new(config).unwrap();
    let mut graph = graph;
    pruner.on_begin(&mut graph).unwrap();
    for epoch in 0..5 {
        let progress = Progress { epoch, epochs: 5, step: 3 * epoch + 2, steps: 15 };
        if let Some(shrunk) = pruner.shrink(&graph, progress).unwrap() {
            pruner.on_shrunk(&graph, &shrunk).unwrap();
            graph = shrunk.graph;
        }
        let widths: Vec<usize> =
            layers.iter().map(|l| graph.param(&format!("{l}.weight")).unwrap().value().dim(0)).collect();
        assert_eq!(graph.param_count() as usize, vgg_params(&widths, 49, &[4096, 4096], 10));
        let share = (1.0 - (std::f64::consts::PI * (epoch + 1) as f64 / 5.0).cos()) / 2.0;
        let whole = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512];
        for ((&n, &kept), &found) in whole.iter().zip(&kept).zip(&widths) {
            assert_eq!(found, n - (share * (n - kept) as f64).round() as usize);
        }
    }
    assert_eq!(graph.param_count(), 54_411_224);
    assert_eq!(pruner.history().last().unwrap().removed, 2112);
}

/// With a global fraction, the channels that are gone at the end of each epoch are those of the published percentages.
#[test]
fn a_global_fraction_counts_the_filters_of_the_whole_network() {
    let options = Options { width: 0.125, ..Options::new(numbered_classes(10), [32, 32, 3]) };
    let mut graph = build("vgg16_bn", &options).unwrap();
    let config = PruneConfig {
        criterion: Some(LargeFinal.into()),
        fraction: Some(0.5),
        context: Context::Global,
        schedule: Some(SparsitySchedule::Cosine),
        ..PruneConfig::default()
    };
    let mut pruner = Pruner::new(config).unwrap();
    pruner.on_begin(&mut graph).unwrap();
    for epoch in 0..5 {
        let progress = Progress { epoch, epochs: 5, step: epoch, steps: 5 };
        if let Some(shrunk) = pruner.shrink(&graph, progress).unwrap() {
            pruner.on_shrunk(&graph, &shrunk).unwrap();
            graph = shrunk.graph;
        }
    }
    // 4224 / 8 filters; 4.77, 17.27, 32.73, 45.23 and 50 % of them.
    let removed: Vec<usize> = pruner.history().iter().map(|turn| turn.removed).collect();
    assert_eq!(removed, [25, 91, 173, 239, 264]);
    let targets: Vec<String> = pruner.history().iter().map(|t| format!("{:.2}", 100.0 * t.target)).collect();
    assert_eq!(targets, ["4.77", "17.27", "32.73", "45.23", "50.00"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the network, what follows its parameters is cut as they are.
    #[test]
    fn slices_are_those_of_the_smaller_network(net in networks(), fraction in 0.1..0.9f64, seed in 0u64..9) {
        let mut graph = net.graph();
        let config = PruneConfig {
            criterion: Some(Random.into()),
            fraction: Some(fraction),
            constants: Constants::Drop,
            schedule: Some(SparsitySchedule::Linear),
            seed,
            ..PruneConfig::default()
        };
        let mut pruner = Pruner::new(config).unwrap();
        if pruner.on_begin(&mut graph).is_ok() {
            for step in 0..3 {
                let progress = Progress { epoch: step, epochs: 3, step, steps: 3 };
                let Some(shrunk) = pruner.shrink(&graph, progress).unwrap() else { continue };
                prop_assert_eq!(shrunk.graph.params().count(), graph.params().count());
                for (path, param) in shrunk.graph.params() {
                    let whole = graph.param(&path).unwrap().value();
                    let (cut, left) = (shrunk.slices.of_tensor(&path, whole), param.value());
                    prop_assert_eq!(cut.shape(), left.shape(), "{}", path);
                    // A filter whose channel cannot go stays with weights of zero.
                    let follows = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || b.to_bits() == 0;
                    prop_assert!(cut.data().iter().zip(left.data()).all(follows), "{}", path);
                }
                for ((path, whole), (_, left)) in graph.buffers().zip(shrunk.graph.buffers()) {
                    prop_assert!(shrunk.slices.of_tensor(&path, whole).same_bits(left), "{}", path);
                }
                // A network that nothing moves follows as it is cut.
                let followed = shrunk.follow(&graph, &graph).unwrap();
                for ((path, a), (_, b)) in followed.params().zip(shrunk.graph.params()) {
                    prop_assert!(a.value().same_bits(b.value()), "{}", path);
                }
                shrunk.graph.check().unwrap();
                graph = shrunk.graph;
            }
            graph.logits(&Device::cpu(), net.images(2)).unwrap();
        }
    }
}
