//! Training some layers only, others later, and each at its own rate.

use crate::support::colors::{ADAM, Colors, SGD, assert_same_bits, conv, network, noise};
use lopper_engine::data::Batches;
use lopper_engine::layer::{Activation, Linear};
use lopper_engine::profile::Profile;
use lopper_engine::train::{
    Callback, Checkpoint, CrossEntropy, EpochMetrics, Flow, Freezing, Keeper, LayerRates, Layers,
    MovingAverage, Optimizer, OptimizerConfig, Progress, Schedule, Step, Trainer, Why, Wish, gradients,
};
use lopper_engine::{Device, Graph, Layer, Param, Result, Tape, Tensor};
use proptest::prelude::*;
use std::path::PathBuf;

const BATCHES: usize = 4;
const EPOCHS: usize = 3;

/// Freezes what `layers` names, separated by commas, except for those of `thaws` from their times on.
fn freezing(layers: &str, thaws: &[&str]) -> Freezing {
    let layers = layers.split(',').map(|layers| layers.parse().unwrap()).collect();
    Freezing::new(layers, thaws.iter().map(|thaw| thaw.parse().unwrap()).collect())
}

/// Trains the small network, or continues `from` a checkpoint.
fn train(
    optimizer: &mut Optimizer,
    callbacks: Vec<&mut dyn Callback>,
    from: Option<Checkpoint>,
    keeper: Option<&mut dyn Keeper>,
) -> (Graph, Result<Vec<EpochMetrics>>) {
    let mut graph = network();
    graph.info.input = [6, 6, 3];
    let trainer = Trainer {
        device: &Device::cpu(),
        optimizer,
        schedule: Schedule::Constant,
        learning_rate: 0.02,
        epochs: EPOCHS,
        seed: 5,
        objective: &mut CrossEntropy { smoothing: 0.0 },
        callbacks: callbacks.into_iter().map(|c| c as &mut dyn Callback).collect(),
        reduce: None,
    };
    let history =
        trainer.fit_kept(&mut graph, &mut Colors::new(BATCHES), Some(&mut Colors::new(2)), from, keeper);
    (graph, history)
}

/// A value for each parameter.
type ByPath<T> = Vec<(String, T)>;

/// For each parameter, the steps in which it changed.
#[derive(Default)]
struct Moves {
    last: Option<Graph>,
    steps: ByPath<Vec<usize>>,
}

impl Callback for Moves {
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        self.last = Some(graph.clone());
        self.steps = graph.params().map(|(path, _)| (path, Vec::new())).collect();
        Ok(())
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        assert!(step.graph.params().all(|(_, param)| param.trainable), "nobody sees a frozen network");
        let last = self.last.replace(step.graph.clone()).unwrap();
        for ((path, steps), (_, param)) in self.steps.iter_mut().zip(step.graph.params()) {
            if !param.value().same_bits(last.param(path).unwrap().value()) {
                steps.push(step.progress.step);
            }
        }
        Ok(Flow::Continue)
    }
}

/// The steps in which each parameter moves, by path, and the optimizer's step counts.
fn moves(freezing: Freezing) -> (ByPath<Vec<usize>>, ByPath<u32>) {
    let (mut moves, mut optimizer) = (Moves::default(), Optimizer::new(ADAM).with_freezing(freezing));
    train(&mut optimizer, vec![&mut moves], None, None).1.unwrap();
    let counts = optimizer.states().into_iter().map(|(path, state)| (path, state.steps)).collect();
    (moves.steps, counts)
}

#[test]
fn frozen_layers_keep_their_bits_and_batch_norms_move() {
    let all: Vec<usize> = (0..BATCHES * EPOCHS).collect();
    let (steps, counts) = moves(freezing("body", &[]));
    for (path, steps) in &steps {
        let expected = if path.starts_with("conv") { &[][..] } else { &all };
        assert_eq!(steps, expected, "{path}");
    }
    assert!(counts.iter().all(|(path, steps)| !path.starts_with("conv") && *steps == 12), "{counts:?}");
    let (start, mut optimizer) = (network(), Optimizer::new(SGD).with_freezing(freezing("*", &[])));
    let (trained, _) = train(&mut optimizer, Vec::new(), None, None);
    for (path, param) in trained.params() {
        assert_eq!(
            param.value().same_bits(start.param(&path).unwrap().value()),
            !path.starts_with("bn"),
            "{path}"
        );
    }
    assert!(trained.buffers().zip(start.buffers()).all(|((_, a), (_, b))| !a.same_bits(b)));
    assert!(trained.params().all(|(_, param)| param.trainable));
}

#[test]
fn layers_are_trained_from_their_time_on_with_a_fresh_optimizer() {
    let (steps, counts) = moves(freezing("body", &["conv2@2", "body@75%"]));
    for (name, first) in [("conv1.", 9), ("conv2.", 4), ("bn1.", 0), ("fc.", 0)] {
        let expected: Vec<usize> = (first..BATCHES * EPOCHS).collect();
        for (path, steps) in steps.iter().filter(|(path, _)| path.starts_with(name)) {
            assert_eq!(steps, &expected, "{path}");
        }
        for (path, steps) in counts.iter().filter(|(path, _)| path.starts_with(name)) {
            assert_eq!(*steps as usize, expected.len(), "{path}");
        }
    }
}

#[test]
fn a_moving_average_leaves_frozen_layers_as_they_are() {
    let (start, mut optimizer) = (network(), Optimizer::new(ADAM).with_freezing(freezing("body", &[])));
    let mut average = MovingAverage::new(0.9).unwrap();
    let (trained, _) = train(&mut optimizer, vec![&mut average], None, None);
    for (path, param) in trained.params().filter(|(path, _)| path.starts_with("conv")) {
        assert!(param.value().same_bits(start.param(&path).unwrap().value()), "{path}");
    }
}

/// Writes a checkpoint after each step, and stops after one.
struct Stopping {
    path: PathBuf,
    after: usize,
}

impl Keeper for Stopping {
    fn wish(&mut self, progress: Progress) -> Wish {
        if progress.step == self.after { Wish::Stop } else { Wish::GoOn }
    }

    fn keep(&mut self, checkpoint: Checkpoint, _: Why) -> Result<()> {
        assert!(checkpoint.graph.params().all(|(_, param)| param.trainable));
        checkpoint.write(&self.path)
    }
}

#[test]
fn a_training_resumed_while_layers_are_unfrozen_ends_with_the_same_bits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let optimizer = || {
        let rates: LayerRates = "body=1e-3..1e-2,head=2e-2".parse().unwrap();
        let rates = rates.factors(&network()).unwrap();
        Optimizer::new(ADAM).with_rates(rates).with_freezing(freezing("body", &["conv2@2", "body@75%"]))
    };
    let (whole, history) = train(&mut optimizer(), Vec::new(), None, None);
    let rates = |history: Vec<EpochMetrics>| history.into_iter().map(|m| m.group_rates).collect::<Vec<_>>();
    let rates_of_whole = rates(history.unwrap());
    // Before, at and between the two times, and behind the last.
    for after in [0, 3, 5, 8, 10] {
        let mut keeper = Stopping { path: path.clone(), after };
        train(&mut optimizer(), Vec::new(), None, Some(&mut keeper)).1.unwrap_err();
        let checkpoint = Checkpoint::read(&path).unwrap();
        let (resumed, history) = train(&mut optimizer(), Vec::new(), Some(checkpoint), None);
        assert_same_bits(&resumed, &whole);
        assert_eq!(rates(history.unwrap()), rates_of_whole, "stopped after step {after}");
    }
}

/// The rates of a group by name, in each epoch.
fn rates_of(history: &[EpochMetrics], group: &str) -> Vec<Option<f64>> {
    let of =
        |m: &EpochMetrics| m.group_rates.iter().find(|rate| rate.group == group).map(|r| r.learning_rate);
    history.iter().map(of).collect()
}

/// A history that showed the scheduled rate of frozen layers would be wrong: only their batch norms have it.
#[test]
fn a_frozen_group_has_the_rate_of_what_is_trained_in_it() {
    let rates: LayerRates = "body=1e-2,head=2e-2".parse().unwrap();
    let optimizer = |graph: &Graph, thaws: &[&str]| {
        let rates = rates.factors(graph).unwrap();
        Optimizer::new(SGD).with_rates(rates).with_freezing(freezing("body", thaws))
    };
    let (_, history) = train(&mut optimizer(&network(), &["body@3"]), Vec::new(), None, None);
    let history = history.unwrap();
    let close = |found: Vec<Option<f64>>, expected: &[Option<f64>]| {
        let scheduled = |m: &EpochMetrics, share: Option<f64>| share.map(|share| share * m.learning_rate);
        let expected: Vec<_> = history.iter().zip(expected).map(|(m, e)| scheduled(m, *e)).collect();
        assert_eq!(found, expected);
    };
    let epochs = history.len();
    let from_third = |before: Option<f64>, after: Option<f64>| -> Vec<Option<f64>> {
        (0..epochs).map(|epoch| if epoch < 2 { before } else { after }).collect()
    };
    assert!(epochs > 2);
    close(rates_of(&history, "body"), &from_third(Some(0.0), Some(0.5)));
    close(rates_of(&history, "body_batch_norms"), &from_third(Some(0.5), None));
    close(rates_of(&history, "head"), &from_third(Some(1.0), Some(1.0)));
    // Without batch norms nothing of the group is trained.
    let graph = plain();
    let epoch = EpochMetrics { learning_rate: 2e-2, ..EpochMetrics::unvalidated(0, 2) };
    let groups = optimizer(&graph, &[]).group_rates(&graph, &epoch, 4).unwrap();
    let found: Vec<(&str, f64)> =
        groups.iter().map(|rate| (rate.group.as_str(), rate.learning_rate)).collect();
    assert_eq!(found, [("body", 0.0), ("head", 2e-2)]);
}

/// A network without batch norms: two convolutions and two linear layers.
fn plain() -> Graph {
    let mut graph = Graph::new(3);
    let a = graph.push("conv1", Layer::Conv2d(conv(8, 3, 1)), &[0]).unwrap();
    let a = graph.push("relu1", Layer::Activation(Activation::Relu), &[a]).unwrap();
    let a = graph.push("conv2", Layer::Conv2d(conv(8, 8, 2)), &[a]).unwrap();
    let a = graph.push("flatten", Layer::Flatten, &[a]).unwrap();
    let linear = |outputs: usize, inputs: usize| {
        let weight = Param::new(Tensor::from_fn(&[outputs, inputs], |i| noise(i, 7) * 0.1));
        Layer::Linear(Linear { weight, bias: None })
    };
    let a = graph.push("fc1", linear(5, 288), &[a]).unwrap();
    graph.push("fc2", linear(3, 5), &[a]).unwrap();
    graph
}

#[test]
fn the_backward_pass_ends_at_the_first_layer_that_is_trained() {
    let device = Device::cpu();
    let batch = Colors::new(1).epoch(0).unwrap().next().unwrap().unwrap();
    for (frozen, expected) in [
        ("body", &["fc1", "fc2"][..]),
        ("body,fc1", &["fc2"]),
        ("conv1", &["conv2", "fc1", "fc2"]),
        ("fc*", &["conv1", "conv2"]),
    ] {
        let (mut graph, profile) = (plain(), Profile::default());
        let thaw = freezing(frozen, &[]).freeze_at_start(&mut graph).unwrap();
        let tape = Tape::new(&device).profiled(&profile);
        let objective = &mut CrossEntropy { smoothing: 0.0 };
        let (_, gradients) = gradients(&mut graph, objective, &batch, tape).unwrap();
        let trained: Vec<&str> = gradients.keys().map(|path| path.split_once('.').unwrap().0).collect();
        assert_eq!(trained, expected, "{frozen}");
        let first = graph.id(expected[0]).unwrap();
        for node in &graph.nodes()[1..first] {
            let back = profile.spans().into_iter().find(|span| span.name == node.name).unwrap().backward;
            assert!(back.is_zero(), "{frozen}: {} went back", node.name);
        }
        thaw.thaw(&mut graph);
        assert!(graph.params().all(|(_, param)| param.trainable));
    }
}

#[test]
fn a_parameter_that_was_never_trained_stays_so() {
    let mut graph = network();
    graph.param_mut("conv1.weight").unwrap().trainable = false;
    freezing("body", &[]).freeze_at_start(&mut graph).unwrap().thaw(&mut graph);
    let trainable = |path: &str| graph.param(path).unwrap().trainable;
    assert!(!trainable("conv1.weight") && trainable("conv2.weight"));
}

#[test]
fn impossible_choices_are_named() {
    let check = |layers: &str, thaws: &[&str]| {
        let mut optimizer = Optimizer::new(SGD).with_freezing(freezing(layers, thaws));
        train(&mut optimizer, Vec::new(), None, None).1.unwrap_err().to_string()
    };
    for (layers, thaws, words) in [
        ("layer9", &[][..], "freeze: `layer9`: the network has no such layer"),
        ("body", &["fc@2"], "unfreeze: `fc` is not frozen at that time"),
        ("body", &["conv1@2", "conv1@3"], "unfreeze: `conv1` is not frozen at that time"),
        ("body", &["bn1@2"], "unfreeze: `bn1` is not frozen at that time"),
        ("body", &["nothing@2"], "unfreeze: `nothing`: the network has no such layer"),
    ] {
        let message = check(layers, thaws);
        assert!(message.contains(words), "{message}");
    }
    let message = freezing("*", &[]).check(&plain()).unwrap_err().to_string();
    assert!(message.contains("freeze: no parameter is left to train"), "{message}");
    assert_eq!(Freezing::default(), Freezing::new(Vec::new(), Vec::new()));
    assert_eq!(Layers::Body.nodes(&plain()).unwrap(), [1, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Freezing spares gradients; those that are computed keep their bits, and so do the statistics of batch norms.
    #[test]
    fn gradients_of_trained_layers_do_not_depend_on_frozen_ones(chosen in prop::collection::vec(0..4usize, 1..4)) {
        let device = Device::cpu();
        let batch = Colors::new(1).epoch(0).unwrap().next().unwrap().unwrap();
        for start in [network(), plain()] {
            let names: Vec<String> =
                start.nodes().iter().filter(|n| !n.layer.params().is_empty()).map(|n| n.name.clone()).collect();
            let layers: Vec<&str> = chosen.iter().map(|&i| names[i % names.len()].as_str()).collect();
            let run = |freeze: bool| {
                let mut graph = start.clone();
                let frozen = freeze.then(|| freezing(&layers.join(","), &[]).freeze_at_start(&mut graph).unwrap());
                let objective = &mut CrossEntropy { smoothing: 0.1 };
                let (loss, gradients) = gradients(&mut graph, objective, &batch, Tape::new(&device)).unwrap();
                frozen.into_iter().for_each(|frozen| frozen.thaw(&mut graph));
                (loss, gradients, graph)
            };
            let (whole, part) = (run(false), run(true));
            assert_eq!(whole.0, part.0);
            for (path, gradient) in &whole.1 {
                let layer = path.rsplit_once('.').unwrap().0;
                let frozen = layers.contains(&layer) && !layer.starts_with("bn");
                match part.1.get(path) {
                    Some(found) => prop_assert!(!frozen && found.same_bits(gradient), "{}", path),
                    None => prop_assert!(frozen, "{}", path),
                }
            }
            assert_same_bits(&whole.2, &part.2);
        }
    }

    /// With plain SGD, a step is `−rate · gradient`, with the rate that even factors give the layer by hand.
    #[test]
    fn each_layer_steps_at_its_own_rate(first in -6.0..-3.0f64, grows in 0.5..3.0f64, head in -4.0..-1.0f64) {
        let (first, last, head) = (10f64.powf(first), 10f64.powf(first + grows), 10f64.powf(head));
        let rates: LayerRates = format!("body={first}..{last},head={head}").parse().unwrap();
        let sgd = OptimizerConfig::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let (start, device) = (network(), Device::cpu());
        let mut optimizer = Optimizer::new(sgd).with_rates(rates.factors(&start).unwrap());
        let gradients = start.params().map(|(path, param)| {
            (path, Tensor::from_fn(param.value().shape(), |i| noise(i, 11)))
        }).collect();
        let mut graph = start.clone();
        optimizer.step(&mut graph, &gradients, rates.largest(), &device).unwrap();
        for (path, param) in graph.params() {
            // Two convolutions: the first rate and the last one.
            let rate = if path.starts_with("fc") { head } else if path.contains('1') { first } else { last };
            let values = start.param(&path).unwrap().value().data().iter().zip(gradients[&path].data());
            for ((before, gradient), after) in values.zip(param.value().data()) {
                let expected = f64::from(*before) - rate * f64::from(*gradient);
                prop_assert!((f64::from(*after) - expected).abs() <= 1e-7 * (1.0 + expected.abs()), "{}", path);
            }
        }
        let epoch = EpochMetrics { learning_rate: rates.largest(), ..EpochMetrics::unvalidated(0, 1) };
        let groups = optimizer.group_rates(&start, &epoch, 1).unwrap();
        let found: Vec<f64> = groups.iter().map(|group| group.learning_rate).collect();
        for (found, expected) in found.iter().zip([first, last, head]) {
            prop_assert!((found / expected - 1.0).abs() < 1e-12);
        }
    }
}
