//! Sparsification and factorization to a target, against clocks that differ from the estimate.

use crate::support::clock::Distorted;
use lopper_compress::criteria::{Criterion, Taylor};
use lopper_compress::prune::Amount;
use lopper_compress::sparsify::{Guided, SparsifyConfig, SparsityTarget};
use lopper_compress::techniques::{Attached, Clock, Technique};
use lopper_compress::{ConvSplit, FactorizeConfig, Granularity, factorize, sparsify};
use lopper_engine::files::forms::Storage;
use lopper_engine::train::{
    Checkpoint, CrossEntropy, InMemory, Keeper, Optimizer, OptimizerConfig, Progress, Schedule, Trainer, Why,
    Wish,
};
use lopper_engine::{Device, Graph, Param, Result};
use lopper_models::{Options, build, init, numbered_classes};
use std::sync::Arc;

fn network(name: &str, size: usize) -> Graph {
    let options = Options { seed: Some(3), ..Options::new(numbered_classes(10), [size, size, 3]) };
    build(name, &options).unwrap()
}

fn share(share: f64) -> Option<Amount> {
    Some(Amount::Share(share))
}

fn sparse(latency: Option<Amount>, clock: Attached) -> SparsifyConfig {
    let target = Some(SparsityTarget { latency, batch: Some(2), ..SparsityTarget::default() });
    SparsifyConfig { sparsity: None, target, clock, ..SparsifyConfig::new(0.0) }
}

fn zeros(graph: &Graph) -> Vec<f64> {
    let masks = graph.params().filter_map(|(_, param)| param.mask().cloned());
    masks.map(|mask| 1.0 - f64::from(mask.data().iter().sum::<f32>()) / mask.len() as f64).collect()
}

#[test]
fn zeros_reach_a_latency_although_the_estimate_is_wrong() {
    for (name, size, of, powers) in [
        ("resnet18", 32, 0.5, &[1.1][..]),
        ("mobilenet_v2", 64, 0.8, &[0.9]),
        ("resnet8", 32, 0.6, &[1.0, 1.1, 0.9]),
    ] {
        let graph = network(name, size);
        for &power in powers {
            let clock = Distorted::new(1, power);
            let config = sparse(share(of), Distorted::new(1, power).attached());
            let rewrite = sparsify(&graph, &config, None).unwrap();
            let found = clock.time(&rewrite.graph, 2) / clock.time(&graph, 2);
            let report = rewrite.report.to_string();
            assert!((found / of - 1.0).abs() <= 0.05, "{name}: {found} of {of} at {power}: {report}");
            assert!(report.contains("(target)") && report.contains("asked for"), "{report}");
            let zeros = zeros(&rewrite.graph);
            assert!(!zeros.is_empty() && zeros.iter().all(|zeros| *zeros > 0.4), "{name}: {zeros:?}");
        }
    }
}

#[test]
fn granularities_restrict_the_choice() {
    let graph = network("resnet8", 32);
    let with = |granularities: Vec<Granularity>| {
        let config = sparse(share(0.7), Distorted::new(1, 1.0).attached());
        let target = config.target.clone().map(|target| SparsityTarget { granularities, ..target });
        sparsify(&graph, &SparsifyConfig { target, ..config }, None).unwrap().report.to_string()
    };
    for (only, other) in [("weight", "block"), ("kernel_block:16", "weight, ")] {
        let report = with(vec![only.parse().unwrap()]);
        assert!(report.contains(&format!("{only}, ")) && !report.contains(other), "{only}: {report}");
    }
}

#[test]
fn the_choice_of_patterns_does_not_depend_on_threads() {
    let graph = network("resnet8", 32);
    let masks = [1, 2, 3].map(|threads| {
        let config = sparse(share(0.6), Distorted::new(threads, 1.1).attached());
        let sparse = sparsify(&graph, &config, None).unwrap().graph;
        let mask = |(path, param): (String, &Param)| (path, param.mask().map(|mask| mask.data().to_vec()));
        sparse.params().map(mask).collect::<Vec<_>>()
    });
    assert!(masks[0] == masks[1] && masks[1] == masks[2]);
}

#[test]
fn zeros_reach_the_bytes_of_a_file() {
    let graph = network("resnet8", 32);
    for asked in [0.5, 0.1] {
        let target = Some(SparsityTarget { bytes: share(asked), ..SparsityTarget::default() });
        let config = SparsifyConfig { sparsity: None, target, ..SparsifyConfig::new(0.0) };
        let rewrite = sparsify(&graph, &config, None).unwrap();
        let bytes = |graph: &Graph| Storage::of(graph).bytes as f64;
        let found = bytes(&rewrite.graph) / bytes(&graph);
        assert!(found <= asked + 1e-3 && found >= 0.95 * asked, "{found} of {asked}: {}", rewrite.report);
    }
    let target = Some(SparsityTarget { bytes: share(1e-3), ..SparsityTarget::default() });
    let config = SparsifyConfig { sparsity: None, target, ..SparsifyConfig::new(0.0) };
    let error = sparsify(&graph, &config, None).unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("is the least"), "{error}");
}

#[test]
fn impossible_and_needless_targets() {
    let graph = network("resnet8", 32);
    let error = sparsify(&graph, &sparse(share(0.001), Distorted::new(1, 1.0).attached()), None).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("cannot be reached") && error.contains("is the least"), "{error}");
    let whole = sparsify(&graph, &sparse(share(1.5), Distorted::new(1, 1.0).attached()), None).unwrap();
    assert!(zeros(&whole.graph).is_empty(), "nothing needs to go");
    let error = sparsify(&graph, &sparse(Some(Amount::Number(1.0)), Attached::default()), None).unwrap_err();
    assert!(error.to_string().contains("of which machine?"), "{error}");
}

#[test]
fn bad_options_of_a_sparse_target_are_named() {
    let graph = network("resnet8", 32);
    for (text, complaint) in [
        ("target = {}", "expected latency or bytes, found none"),
        ("target = { latency = \"0.5x\", bytes = 10 }", "found both"),
        ("target = { latency = \"0.5x\", batch = 0 }", "batch: expected at least 1 image, found 0"),
        ("target = { bytes = \"0.5x\", batch = 2 }", "batch: expected a latency beside it"),
        ("target = { latency = \"0.5x\", granularities = [\"layer\"] }", "layer: every layer keeps"),
        ("sparsity = 0.5\ntarget = { latency = \"0.5x\" }", "expected no sparsity beside it"),
        ("granularity = \"weight\"\ntarget = { latency = \"0.5x\" }", "expected no granularity beside it"),
        ("context = \"local\"\ntarget = { latency = \"0.5x\" }", "expected no context beside it"),
        ("criterion = \"batch_norm_gamma\"\ntarget = { latency = \"0.5x\" }", "scores filters"),
        ("target = { latency = \"0.5x\" }\ninclude = [\"nothing\"]", "nothing"),
    ] {
        let config: SparsifyConfig = toml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let error = sparsify(&graph, &config, None).unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
    for (text, complaint) in [
        ("target = { latency = \"soon\" }", "expected a share such as 0.5x"),
        ("target = { macs = 1 }", "unknown field `macs`"),
        ("target = { latency = 1, granularities = [\"wait\"] }", "granularity"),
    ] {
        let error = toml::from_str::<SparsifyConfig>(text).unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
    let taylor: Criterion = Taylor.into();
    let config = SparsifyConfig { criterion: taylor, ..sparse(share(0.5), Attached::default()) };
    let error = Guided::new(config).unwrap_err().to_string();
    assert!(error.contains("only weights are known"), "{error}");
}

/// Stops a training after a step, and keeps what it knows.
struct StopAfter(usize, Option<Checkpoint>);

impl Keeper for StopAfter {
    fn wish(&mut self, progress: Progress) -> Wish {
        if progress.step == self.0 { Wish::Stop } else { Wish::GoOn }
    }

    fn keep(&mut self, checkpoint: Checkpoint, _: Why) -> Result<()> {
        self.1 = Some(checkpoint);
        Ok(())
    }
}

/// Sparsity grows to the patterns that are chosen before the first step, and a training that is stopped goes on with them.
#[test]
fn patterns_are_chosen_once_and_grown_to() {
    let graph = network("resnet8", 16);
    let target = Some(SparsityTarget {
        bytes: share(0.4),
        granularities: vec![Granularity::WEIGHT, Granularity::WEIGHT.keep(2, 4)],
        ..SparsityTarget::default()
    });
    let config = SparsifyConfig { sparsity: None, target, ..SparsifyConfig::new(0.0) };
    let images = init::normal(1, "images", &[8, 16, 16, 3], 1.0);
    let labels: Vec<u32> = (0..8).map(|i| i % 10).collect();
    let train = |from: Option<Checkpoint>, keeper: Option<&mut dyn Keeper>| {
        let (mut graph, mut guided) = (graph.clone(), Guided::new(config.clone()).unwrap());
        let trainer = Trainer {
            device: &Device::cpu(),
            optimizer: &mut Optimizer::new(OptimizerConfig::Sgd {
                momentum: 0.9,
                nesterov: false,
                weight_decay: 0.0,
            }),
            schedule: Schedule::Constant,
            learning_rate: 0.01,
            epochs: 2,
            seed: 7,
            objective: &mut CrossEntropy::default(),
            callbacks: vec![&mut guided],
            reduce: None,
        };
        let classes = numbered_classes(10);
        let mut data = InMemory::new(images.clone(), labels.clone(), classes).unwrap().batch(4);
        let done = trainer.fit_kept(&mut graph, &mut data, None, from, keeper);
        (graph, guided.picked().clone(), done)
    };
    let (whole, picked, history) = train(None, None);
    let bytes = |graph: &Graph| Storage::of(graph).bytes as f64;
    assert!(bytes(&whole) <= 0.42 * bytes(&graph), "{picked:?}");
    assert!(history.unwrap()[0].notes[0].contains("asked for at most"));
    for (layer, (granularity, sparsity)) in &picked {
        let mask = whole.param(&format!("{layer}.weight")).unwrap().masked_fraction();
        assert!((mask - sparsity).abs() < 0.02, "{layer}: {mask} of {sparsity} by {granularity}");
    }
    for step in 0..4 {
        let mut stopper = StopAfter(step, None);
        let _ = train(None, Some(&mut stopper));
        let (rest, again, done) = train(stopper.1, None);
        assert!(done.is_ok() && again == picked, "stopped after step {step}");
        for ((path, a), (_, b)) in whole.params().zip(rest.params()) {
            assert!(a.value().same_bits(b.value()), "{path} stopped after step {step}");
        }
    }
}

fn split(latency: Option<Amount>, clock: Attached) -> FactorizeConfig {
    FactorizeConfig {
        target_latency: latency,
        conv: Some(ConvSplit::Auto),
        clock,
        ..FactorizeConfig::default()
    }
}

#[test]
fn ranks_reach_a_latency_although_the_estimate_is_wrong() {
    for (name, size, of, powers) in [("resnet18", 32, 0.8, &[1.1][..]), ("vgg8_bn", 32, 0.7, &[1.0, 0.95])] {
        let graph = network(name, size);
        for &power in powers {
            let clock = Distorted::new(1, power);
            let config = split(share(of), Distorted::new(1, power).attached());
            let rewrite = factorize(&graph, &config).unwrap();
            let found = clock.time(&rewrite.graph, 1) / clock.time(&graph, 1);
            let report = rewrite.report.to_string();
            assert!((found / of - 1.0).abs() <= 0.05, "{name}: {found} of {of} at {power}: {report}");
            assert!(report.contains("(target)") && report.contains("asked for"), "{report}");
            assert!(rewrite.graph.nodes().len() > graph.nodes().len(), "{report}");
        }
    }
}

#[test]
fn bad_options_of_a_rank_target_are_named() {
    let graph = network("resnet8", 32);
    for (text, complaint) in [
        ("target_latency = \"0.5x\"\nfraction = 0.5", "found `fraction` and `target_latency`"),
        ("target_latency = \"0.5x\"\nconv = \"tucker\"", "target_latency: counts singular values"),
        ("target_latency = \"0.5x\"\ntarget_batch = 0", "target_batch: expected at least 1 image"),
        ("fraction = 0.5\ntarget_batch = 2", "target_batch: expected target_latency beside it"),
        ("target_latency = \"1ms\"", "of which machine?"),
        ("target_latency = \"0.0001x\"", "cannot be reached"),
    ] {
        let config: FactorizeConfig = toml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let error = factorize(&graph, &config).unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}

#[test]
fn a_promise_is_made_to_the_clock_of_the_machine() {
    let clock: Arc<dyn Clock> = Arc::new(Distorted::new(1, 1.0));
    let techniques: [Box<dyn Technique>; 2] =
        [Box::new(sparse(share(0.5), Attached::default())), Box::new(split(share(0.5), Attached::default()))];
    assert_eq!(techniques.each_ref().map(|technique| technique.promises_latency()), [Some(2), Some(1)]);
    assert!(techniques.iter().all(|technique| technique.timed(&clock).is_some()));
    let none: [Box<dyn Technique>; 2] = [
        Box::new(SparsifyConfig::new(0.5)),
        Box::new(FactorizeConfig { fraction: Some(0.5), ..FactorizeConfig::default() }),
    ];
    assert!(none.iter().all(|technique| technique.timed(&clock).is_none()));
    assert_eq!(none.each_ref().map(|technique| technique.promises_latency()), [None; 2]);
}
