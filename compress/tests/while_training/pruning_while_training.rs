//! Pruning while training: channels go as the schedule asks, and a resumed training goes on with what is left.

use crate::support::shrinking::{ADAMW, SGD, channels, half, net};
use crate::support::*;
use lopper_compress::Context;
use lopper_compress::criteria::{BatchNormGamma, Criterion, LargeFinal, Taylor};
use lopper_compress::prune::{PruneConfig, Pruner};
use lopper_compress::sparsify::{Sparsifier, SparsifyConfig};
use lopper_engine::certificate::Claim;
use lopper_engine::data::Batch;
use lopper_engine::layer::{Activation, Layer, Pool, Window};
use lopper_engine::train::{
    Best, Callback, Checkpoint, CrossEntropy, EpochMetrics, Keeper, Monitor, MovingAverage, Objective,
    Optimizer, Progress, Schedule, Shrunk, State, Trainer, Why, Wish,
};
use lopper_engine::{Device, Error, Graph, NodeId, Pass, Result, Tape, Var};

/// Trains and prunes [`net`] for 5 epochs of 4 steps.
fn pruned(config: PruneConfig) -> (Graph, Pruner, Vec<EpochMetrics>) {
    let (mut graph, mut pruner) = (net(), Pruner::new(config).unwrap());
    let mut optimizer = Optimizer::new(ADAMW);
    let callbacks: Vec<&mut dyn Callback> = vec![&mut pruner];
    let history = train(&mut graph, &mut optimizer, 5, &mut CrossEntropy::default(), callbacks).unwrap();
    (graph, pruner, history)
}

#[test]
fn channels_go_as_the_schedule_asks_once_an_epoch() {
    for criterion in [Criterion::from(LargeFinal), Taylor.into(), BatchNormGamma.into()] {
        let (graph, pruner, history) = pruned(half(criterion.clone(), Context::Global));
        // The published percentages of a final 50 %, at the ends of five epochs.
        let targets: Vec<String> =
            pruner.history().iter().map(|t| format!("{:.2}", 100.0 * t.target)).collect();
        assert_eq!(targets, ["4.77", "17.27", "32.73", "45.23", "50.00"]);
        let removed: Vec<usize> = pruner.history().iter().map(|turn| turn.removed).collect();
        assert_eq!(removed, [1, 2, 5, 6, 7], "round(target · 14)");
        assert_eq!(
            pruner.history().iter().map(|t| (t.epoch, t.step)).collect::<Vec<_>>(),
            [(0, 3), (1, 7), (2, 11), (3, 15), (4, 19)]
        );
        assert_eq!(channels(&graph).iter().sum::<usize>(), 7, "{criterion}");
        let shares: Vec<(u64, u64)> =
            history.iter().map(|m| m.pruned.as_ref().unwrap()).map(|p| (p.removed, p.channels)).collect();
        assert_eq!(shares, [(1, 14), (2, 14), (5, 14), (6, 14), (7, 14)]);
        let last = history[4].pruned.as_ref().unwrap();
        assert_eq!(last.fraction(), 0.5);
        let layers: Vec<&str> = last.layers.iter().map(|layer| layer.layer.as_str()).collect();
        assert_eq!(layers, ["body.conv1", "body.depthwise", "body.conv2"]);
    }
}

/// A layer of which little is left is named in the epoch of its cut; and what is known about the cuts is stated.
#[test]
fn a_gutted_layer_is_named_while_training() {
    let mut graph = Chain::new(2)
        .then("wide", conv(24, 2, 3, 1, 1))
        .then("relu", Layer::Activation(Activation::Relu))
        .then("narrow", conv(8, 24, 1, 1, 2))
        .then("pool", Layer::Pool(Pool::average(Window::Adaptive([1, 1]))))
        .then("flatten", Layer::Flatten)
        .then("fc", linear(3, 8, 3))
        .graph;
    graph.info.input = [4, 4, 2];
    let config = PruneConfig {
        criterion: Some(LargeFinal.into()),
        widths: [("wide".to_string(), 1)].into(),
        steps: Some(2),
        ..PruneConfig::default()
    };
    let mut pruner = Pruner::new(config).unwrap();
    let callbacks: Vec<&mut dyn Callback> = vec![&mut pruner];
    let history =
        train(&mut graph, &mut Optimizer::new(ADAMW), 4, &mut CrossEntropy::default(), callbacks).unwrap();
    let notes: Vec<Vec<String>> = history.into_iter().map(|epoch| epoch.notes).collect();
    let warning = "wide: warning: only 1 of 24 channels stay".to_string();
    assert_eq!(
        notes,
        [vec![], vec![], vec![warning], vec![]],
        "the second half of the cut comes in the third epoch"
    );

    let [masked, removed] = &pruner.certificates(&graph)[..] else { panic!("two certificates") };
    let Claim::Approximate { predicted, .. } = masked.claim else { panic!("{masked}") };
    assert!(predicted > 0.1 && predicted < 1.0, "{masked}");
    assert_eq!(removed.holds(), Some(true), "{removed}");
    assert!(removed.images > 0, "{removed}");
}

#[test]
fn local_fractions_widths_and_numbers_are_reached_exactly() {
    let options = |text: &str| -> PruneConfig {
        let text = format!("criterion = \"large_final\"\nschedule = \"linear\"\n{text}");
        toml::from_str(&text).unwrap()
    };
    for (text, expected, turns) in [
        ("fraction = 0.5\ncontext = \"local\"", [3, 4], vec![1 + 1, 1 + 2, 2 + 2, 2 + 3, 3 + 4]),
        ("width = 0.4", [2, 3], vec![2, 4, 5, 7, 9]),
        ("widths = { \"body.conv?\" = 3 }", [0, 0], vec![]),
        ("widths = { \"*.conv2\" = 3 }", [6, 3], vec![1, 2, 3, 4, 5]),
        ("width = 0.4\nstart = 0.3\nend = 0.7\nevery = 2", [2, 3], vec![0, 0, 0, 2, 5, 7, 9, 9, 9, 9]),
        ("width = 0.4\nevery = 7", [2, 3], vec![1 + 2, 3 + 4, 4 + 5]),
    ] {
        let config = options(text);
        if turns.is_empty() {
            let error = Pruner::new(config).unwrap().on_begin(&mut net()).unwrap_err().to_string();
            assert!(error.contains("`body.conv?` matches no layer"), "{error}");
            continue;
        }
        let (graph, pruner, _) = pruned(config);
        assert_eq!(channels(&graph), expected, "{text}");
        let removed: Vec<usize> = pruner.history().iter().map(|turn| turn.removed).collect();
        assert_eq!(removed, turns, "{text}");
    }
}

/// Stops after a step and keeps the checkpoint, through a file.
struct StopAfter(usize, Option<Checkpoint>);

impl Keeper for StopAfter {
    fn wish(&mut self, progress: Progress) -> Wish {
        if progress.step == self.0 { Wish::Stop } else { Wish::GoOn }
    }

    fn keep(&mut self, checkpoint: Checkpoint, _: Why) -> Result<()> {
        let file = tempfile::NamedTempFile::new().unwrap();
        checkpoint.write(file.path())?;
        self.1 = Some(Checkpoint::read(file.path())?);
        Ok(())
    }
}

/// Trains, prunes, sparsifies and averages [`net`] for two epochs, or a part of them.
fn part(criterion: &str, from: Option<Checkpoint>, keeper: Option<&mut StopAfter>) -> (Graph, usize, bool) {
    let config: PruneConfig = toml::from_str(&format!(
        "criterion = \"{criterion}\"\nfraction = 0.4\nschedule = \"linear\"\nevery = 2"
    ))
    .unwrap();
    let mut graph = net();
    let mut pruner = Pruner::new(config).unwrap();
    let mut sparsifier = Sparsifier::new(SparsifyConfig {
        granularity: "weight".parse().unwrap(),
        criterion: "taylor".parse().unwrap(),
        ..SparsifyConfig::new(0.3)
    })
    .unwrap();
    let (mut average, device) = (MovingAverage::new(0.9).unwrap(), Device::cpu());
    let trainer = Trainer {
        device: &device,
        optimizer: &mut Optimizer::new(ADAMW),
        schedule: Schedule::Constant,
        learning_rate: 0.05,
        epochs: 2,
        seed: 7,
        objective: &mut CrossEntropy::default(),
        callbacks: vec![&mut pruner, &mut sparsifier, &mut average],
        reduce: None,
    };
    let keeper = keeper.map(|keeper| keeper as &mut dyn Keeper);
    let ended = trainer.fit_kept(&mut graph, &mut Toy::new(4, 3), Some(&mut Toy::new(1, 3)), from, keeper);
    let done = match ended {
        Ok(_) => true,
        Err(Error::Stopped) => false,
        Err(error) => panic!("{error}"),
    };
    (graph, pruner.history().len(), done)
}

#[test]
fn a_resumed_training_ends_with_the_same_bits() {
    for criterion in ["large_final", "taylor", "batch_norm_gamma"] {
        let (whole, turns, _) = part(criterion, None, None);
        assert_eq!(channels(&whole).iter().sum::<usize>(), 14 - 6, "round(0.4 · 14) channels are gone");
        for step in 0..7 {
            let mut stopper = StopAfter(step, None);
            assert!(!part(criterion, None, Some(&mut stopper)).2);
            let (rest, again, done) = part(criterion, stopper.1, None);
            assert!(done && same_bits(&whole, &rest), "{criterion} stopped after step {step}");
            assert_eq!(again, turns);
        }
    }
}

#[test]
fn missing_batches_do_not_keep_the_schedule_from_its_end() {
    let (mut graph, mut pruner, device) =
        (net(), Pruner::new(half(LargeFinal, Context::Local)).unwrap(), Device::cpu());
    let trainer = Trainer {
        device: &device,
        optimizer: &mut Optimizer::new(SGD),
        schedule: Schedule::Constant,
        learning_rate: 0.05,
        epochs: 2,
        seed: 7,
        objective: &mut CrossEntropy::default(),
        callbacks: vec![&mut pruner],
        reduce: None,
    };
    let history = trainer.fit(&mut graph, &mut Gaps(Toy::new(4, 3)), None).unwrap();
    assert_eq!(channels(&graph), [3, 4]);
    assert_eq!(history[1].pruned.as_ref().unwrap().fraction(), 0.5);
    assert_eq!(pruner.history().iter().map(|turn| turn.epoch).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn the_best_epoch_is_one_of_the_final_widths() {
    let mut pruner = Pruner::new(PruneConfig { end: Some(0.6), ..half(LargeFinal, Context::Local) }).unwrap();
    let mut best = Best::new(Monitor::Top1, None, true);
    let mut graph = net();
    let callbacks: Vec<&mut dyn Callback> = vec![&mut pruner, &mut best];
    train(&mut graph, &mut Optimizer::new(SGD), 5, &mut CrossEntropy::default(), callbacks).unwrap();
    assert_eq!(channels(&graph), [3, 4]);
    assert!(best.epoch().is_some_and(|epoch| epoch >= 2), "{:?}", best.epoch());
}

/// Compares the output of conv2 with itself: its shape must not change.
struct Compares(CrossEntropy);

impl Objective for Compares {
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        self.0.loss(tape, pass, batch)
    }

    fn taps(&self) -> Vec<NodeId> {
        vec![net().id("body.conv2").unwrap()]
    }
}

#[test]
fn what_cannot_work_is_refused() {
    let mut pruner = Pruner::new(half(LargeFinal, Context::Local)).unwrap();
    let callbacks: Vec<&mut dyn Callback> = vec![&mut pruner];
    let error =
        train(&mut net(), &mut Optimizer::new(SGD), 2, &mut Compares(CrossEntropy::default()), callbacks);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("compares the output of layer `body.conv2`"), "{message}");

    let read = |text: &str| toml::from_str::<PruneConfig>(text).unwrap();
    for (text, words) in [
        ("criterion = \"taylor\"\nfraction = 0.5", "expected a schedule"),
        ("schedule = \"cosine\"", "schedule: expected a criterion beside it"),
        ("criterion = \"taylor\"\nfraction = 0.5\nevery = 2", "every: expected a schedule beside it"),
        ("criterion = \"taylor\"\nfraction = 0.5\nend = 0.5", "end: expected a schedule beside it"),
        (
            "criterion = \"taylor\"\nfraction = 0.5\nschedule = \"cosine\"\nevery = 0",
            "at least 1 step, found 0",
        ),
        (
            "criterion = \"taylor\"\nfraction = 0.5\nschedule = \"cosine\"\nstart = 0.5\nend = 0.2",
            "0 ≤ start ≤ end ≤ 1",
        ),
        ("criterion = \"taylor\"\nfraction = 0.5\nschedule = \"dense_sparse_dense\"", "cannot return"),
        ("criterion = \"taylor\"\nfraction = 0.5\nwidth = 0.5", "only one of fraction and width"),
        ("criterion = \"taylor\"\nwidth = 0.0", "above 0 and at most 1, found 0"),
        ("criterion = \"taylor\"\nwidth = nan", "found NaN"),
        ("width = 0.5", "of which criterion"),
        ("criterion = \"taylor\"", "expected a fraction of channels to remove beside it"),
        (
            "criterion = \"taylor\"\nfraction = 0.5\nrelative_to = \"a\"",
            "relative_to: expected a width beside it",
        ),
    ] {
        let message = Pruner::new(read(text)).unwrap_err().to_string();
        assert!(message.starts_with("prune") && message.contains(words), "{text}: {message}");
    }
    let nothing = PruneConfig { include: vec!["fc2".into()], ..half(LargeFinal, Context::Local) };
    let error = Pruner::new(nothing).unwrap().on_begin(&mut net()).unwrap_err().to_string();
    assert!(error.contains("no channels are left"), "{error}");
    for (widths, words) in [
        ("\"body.conv2\" = 9", "`body.conv2` keeps 1 to 8 channels, found 9"),
        ("\"body.conv2\" = 0", "found 0"),
        ("\"*.conv2\" = 3, \"body.conv*\" = 4", "both match"),
    ] {
        let config = read(&format!("criterion = \"random\"\nwidths = {{ {widths} }}"));
        let message = config.apply(&net(), None).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_damaged_state_of_pruning_is_refused() {
    let mut pruner = Pruner::new(half(Taylor, Context::Local)).unwrap();
    pruner.on_begin(&mut net()).unwrap();
    let whole = pruner.state();
    pruner.restore(whole.clone()).unwrap();
    let mut left = whole.clone();
    left.value["memory"]["left"][0] = 7.into();
    let mut fewer = whole.clone();
    fewer.value["memory"]["left"] = serde_json::json!([1]);
    let extra = State { arrays: [("observed/a".to_string(), vec![1.0])].into(), ..whole.clone() };
    for damaged in [left, fewer, extra, State::default(), State { value: 3.into(), ..whole }] {
        assert!(pruner.restore(damaged).unwrap_err().to_string().starts_with("checkpoint: "));
    }
}

/// A callback that remembers nothing is told of every change, with the network before it.
#[test]
fn every_callback_hears_of_a_change() {
    struct Heard(Vec<usize>);
    impl Callback for Heard {
        fn on_shrunk(&mut self, before: &Graph, shrunk: &Shrunk) -> Result<()> {
            let channels = |graph: &Graph| channels(graph).iter().sum::<usize>();
            self.0.extend([channels(before), channels(&shrunk.graph)]);
            Ok(())
        }
    }
    let (mut pruner, mut heard) =
        (Pruner::new(half(LargeFinal, Context::Global)).unwrap(), Heard(Vec::new()));
    let callbacks: Vec<&mut dyn Callback> = vec![&mut pruner, &mut heard];
    train(&mut net(), &mut Optimizer::new(SGD), 2, &mut CrossEntropy::default(), callbacks).unwrap();
    // Half of 7, rounded down: the cosine of a right angle is not quite 0.
    assert_eq!(heard.0, [14, 11, 11, 7]);
}
