//! Steering a training: groups of parameters, callbacks that stop it and set rates, gradients from several replicas;
//! and evaluating anything that gives logits.

use crate::support::colors::{ADAM, Colors, SGD, assert_same_bits, network, noise};
use crate::support::exact::{PLAIN, Squares, fit, images, linear};
use lopper_engine::data::{Batch, Batches};
use lopper_engine::plan::{Plan, PlanOptions};
use lopper_engine::train::{
    Callback, Checkpoint, CrossEntropy, EpochMetrics, Flow, Keeper, Optimizer, OptimizerConfig, ParamGroup,
    Progress, Schedule, Step, Trainer, Why, Wish, evaluate, gradients,
};
use lopper_engine::{Device, Graph, ParamGradients, Result, Tape, Tensor};
use lopper_kernels::params::Dtype;
use proptest::prelude::*;
use std::path::PathBuf;

const ADAMW: OptimizerConfig = OptimizerConfig::AdamW { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.1 };
const RATE: f64 = 0.02;
const BATCHES: usize = 4;

/// The options of a training.
#[derive(Default)]
struct Setup<'a> {
    epochs: usize,
    groups: Vec<ParamGroup>,
    callbacks: Vec<&'a mut dyn Callback>,
    from: Option<Checkpoint>,
    keeper: Option<&'a mut dyn Keeper>,
}

impl Setup<'_> {
    fn train(self) -> (Graph, Result<Vec<EpochMetrics>>) {
        let mut graph = network();
        graph.info.input = [6, 6, 3];
        let trainer = Trainer {
            device: &Device::cpu(),
            optimizer: &mut Optimizer::new(SGD).with_groups(self.groups),
            schedule: Schedule::Constant,
            learning_rate: RATE,
            epochs: self.epochs,
            seed: 5,
            objective: &mut CrossEntropy { smoothing: 0.0 },
            callbacks: self.callbacks.into_iter().map(|c| c as &mut dyn Callback).collect(),
            reduce: None,
        };
        let (data, val) = (&mut Colors::new(BATCHES), &mut Colors::new(2));
        let history = trainer.fit_kept(&mut graph, data, Some(val), self.from, self.keeper);
        (graph, history)
    }
}

fn group(params: &str, lr_factor: f64, weight_decay: Option<f64>) -> ParamGroup {
    ParamGroup { lr_factor, weight_decay, ..ParamGroup::new(params) }
}

/// The configuration with another weight decay.
fn decaying(config: OptimizerConfig, decay: f64) -> OptimizerConfig {
    match config {
        OptimizerConfig::Sgd { momentum, nesterov, .. } => {
            OptimizerConfig::Sgd { momentum, nesterov, weight_decay: decay }
        }
        OptimizerConfig::Adam { betas, eps, .. } => OptimizerConfig::Adam { betas, eps, weight_decay: decay },
        OptimizerConfig::AdamW { betas, eps, .. } => {
            OptimizerConfig::AdamW { betas, eps, weight_decay: decay }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Each group steps as it would with an optimizer of its own, and the other parameters as without groups.
    #[test]
    fn groups_step_like_optimizers_of_their_own(
        which in 0..3usize,
        factors in [0.0..3.0f64, 0.0..3.0],
        decays in [prop::option::of(0.0..1.0f64), prop::option::of(0.0..1.0f64)],
        seed in 0..1000u64,
    ) {
        let (config, device) = ([SGD, ADAM, ADAMW][which], Device::cpu());
        let decay = [1e-4, 0.0, 0.1][which];
        let groups =
            vec![group("fc.*", factors[0], decays[0]), group("*.weight", factors[1], decays[1])];
        // The first group that matches counts.
        let of = |path: &str| groups.iter().position(|group| group.matches(path));
        let gradients: ParamGradients = network()
            .params()
            .map(|(path, param)| (path, Tensor::from_fn(param.value().shape(), |i| noise(i, seed))))
            .collect();
        let mut together = network();
        let mut optimizer = Optimizer::new(config).without_vector_decay().with_groups(groups.clone());
        optimizer.check(RATE, &together).unwrap();
        let mut alone = network();
        let rules = [(Some(0), factors[0], decays[0]), (Some(1), factors[1], decays[1]), (None, 1.0, None)];
        let mut own = rules.map(|(group, factor, own)| {
            (group, factor, Optimizer::new(decaying(config, own.unwrap_or(decay))).without_vector_decay())
        });
        for _ in 0..3 {
            optimizer.step(&mut together, &gradients, RATE, &device).unwrap();
            for (group, factor, optimizer) in &mut own {
                let part = gradients.iter().filter(|(path, _)| of(path) == *group);
                let part = part.map(|(path, gradient)| (path.clone(), gradient.clone())).collect();
                optimizer.step(&mut alone, &part, RATE * *factor, &device).unwrap();
            }
        }
        for ((path, a), (_, b)) in together.params().zip(alone.params()) {
            prop_assert!(a.value().same_bits(b.value()), "{}", path);
        }
    }
}

#[test]
fn groups_of_factor_one_change_no_bits_and_of_factor_zero_freeze() {
    let (plain, _) = Setup { epochs: 2, ..Setup::default() }.train();
    let groups = vec![ParamGroup::new("conv*"), ParamGroup::new("*")];
    assert_same_bits(&plain, &Setup { epochs: 2, groups, ..Setup::default() }.train().0);
    let groups = vec![group("fc.*", 0.0, None)];
    let (frozen, _) = Setup { epochs: 2, groups, ..Setup::default() }.train();
    for (path, param) in frozen.params() {
        let moved = !param.value().same_bits(network().param(&path).unwrap().value());
        assert_eq!(moved, !path.starts_with("fc."), "{path}");
    }
}

#[test]
fn a_group_without_parameters_is_an_error() {
    for (groups, words) in [
        (vec![ParamGroup::new("fc")], "group `fc`: the network has no parameter that matches"),
        (
            vec![ParamGroup::new("fc.*"), ParamGroup::new("*.bias"), ParamGroup::new("fc.bias")],
            "group `fc.bias`: all parameters that match belong to earlier groups",
        ),
        (vec![group("fc.*", -1.0, None)], "group `fc.*`: lr_factor: expected at least 0, found -1"),
    ] {
        let message = Setup { epochs: 1, groups, ..Setup::default() }.train().1.unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}

/// Stops after a step, or after an epoch, and counts the steps that it sees.
#[derive(Default)]
struct StopAt {
    step: Option<usize>,
    epoch: Option<usize>,
    steps: usize,
    ended: bool,
}

impl Callback for StopAt {
    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        self.steps += 1;
        Ok(if self.step == Some(step.progress.step) { Flow::Stop } else { Flow::Continue })
    }

    fn on_epoch_end(&mut self, _: &mut Graph, epoch: &EpochMetrics) -> Result<Flow> {
        Ok(if self.epoch == Some(epoch.epoch) { Flow::Stop } else { Flow::Continue })
    }

    fn on_end(&mut self, _: &mut Graph) -> Result<()> {
        self.ended = true;
        Ok(())
    }
}

#[test]
fn a_callback_stops_a_training_as_if_it_were_shorter() {
    let (shorter, history) = Setup { epochs: 2, ..Setup::default() }.train();
    let history = history.unwrap();
    for (step, epoch) in [(None, Some(1)), (Some(2 * BATCHES - 1), None)] {
        let mut stop = StopAt { step, epoch, ..StopAt::default() };
        // A callback in front of it is called for the last step, too.
        let mut before = StopAt::default();
        let callbacks: Vec<&mut dyn Callback> = vec![&mut stop, &mut before];
        let (graph, stopped) = Setup { epochs: 5, callbacks, ..Setup::default() }.train();
        let stopped = stopped.unwrap();
        assert_eq!((stop.steps, before.steps, stop.ended), (2 * BATCHES, 2 * BATCHES, true));
        let metrics =
            |history: &[EpochMetrics]| history.iter().map(|m| (m.train_loss, m.val)).collect::<Vec<_>>();
        assert_eq!(metrics(&stopped), metrics(&history));
        assert_same_bits(&graph, &shorter);
    }
}

/// Writes every checkpoint to the same file, asks for one after each step, and stops after some.
struct Writer {
    path: PathBuf,
    stop: Option<usize>,
}

impl Keeper for Writer {
    fn wish(&mut self, progress: Progress) -> Wish {
        if self.stop == Some(progress.step) { Wish::Stop } else { Wish::Keep }
    }

    fn keep(&mut self, checkpoint: Checkpoint, _: Why) -> Result<()> {
        checkpoint.write(&self.path)
    }
}

#[test]
fn a_training_stopped_in_an_epoch_stays_stopped_when_it_is_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let last = BATCHES + 1;
    let run = |from, interrupt| {
        let mut stop = StopAt { step: Some(last), ..StopAt::default() };
        let mut keeper = Writer { path: path.clone(), stop: interrupt };
        let callbacks: Vec<&mut dyn Callback> = vec![&mut stop];
        let setup = Setup { epochs: 5, callbacks, from, keeper: Some(&mut keeper), ..Setup::default() };
        let (graph, history) = setup.train();
        (graph, history.map(|history| history.len()), stop.steps)
    };
    let (whole, history, steps) = run(None, None);
    assert_eq!((history.unwrap(), steps), (2, last + 1));
    // Interrupted after the last step: by the end of the process, or by the keeper after the same step.
    for interrupt in [None, Some(last)] {
        let _ = run(None, interrupt);
        let checkpoint = Checkpoint::read(&path).unwrap();
        assert_eq!((checkpoint.position.stopped, checkpoint.position.batch), (true, 2));
        let (graph, history, steps) = run(Some(checkpoint), None);
        assert_eq!((history.unwrap(), steps), (2, 0));
        assert_same_bits(&graph, &whole);
    }
}

/// Multiplies the learning rate.
struct Factor(f64);

impl Callback for Factor {
    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        step.rates.learning_rate *= self.0;
        Ok(())
    }
}

#[test]
fn a_callback_sets_the_rates_of_a_step() {
    let factor = |factor: f64| {
        let mut callback = Factor(factor);
        Setup { epochs: 2, callbacks: vec![&mut callback], ..Setup::default() }.train()
    };
    let (halved, history) = factor(0.5);
    assert_eq!(history.unwrap()[1].learning_rate, 0.5 * RATE);
    let groups = vec![group("*", 0.5, None)];
    assert_same_bits(&halved, &Setup { epochs: 2, groups, ..Setup::default() }.train().0);
    assert_same_bits(&factor(1.0).0, &Setup { epochs: 2, ..Setup::default() }.train().0);
    for (value, found) in [(f64::NAN, "NaN"), (-1.0, "-0.02"), (1e50, "2e48")] {
        let message = factor(value).1.unwrap_err().to_string();
        let expected = format!("learning rate of a step: expected at least 0, found {found}");
        assert!(message.contains(&expected), "{message}");
    }
}

/// The same images in every epoch, as one batch.
struct One(Batch, Vec<String>);

impl One {
    fn new(range: std::ops::Range<usize>) -> Self {
        Self(images(range), Vec::new())
    }
}

impl Batches for One {
    fn len(&self) -> usize {
        1
    }
    fn samples(&self) -> usize {
        self.0.labels.len()
    }
    fn image_shape(&self) -> [usize; 3] {
        [1, 1, 3]
    }
    fn classes(&self) -> &[String] {
        &self.1
    }
    fn epoch(&mut self, _: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        Ok(Box::new(std::iter::once(Ok(self.0.clone()))))
    }
}

#[test]
fn averaging_with_a_replica_equals_training_on_all_images() {
    let whole = fit(&mut One::new(0..8), 1, None);
    // The other replica has half of the images, its own network and optimizer, and the same averages.
    let (mut other, mut optimizer) = (linear(), Optimizer::new(PLAIN));
    let (half, device, mut calls) = (One::new(4..8).0, Device::cpu(), 0);
    let mut average = |ours: &mut ParamGradients| -> Result<()> {
        let (_, theirs) = gradients(&mut other, &mut Squares, &half, Tape::new(&device))?;
        for (path, gradient) in ours.iter_mut() {
            let pairs = gradient.data_mut().iter_mut().zip(theirs[path].data());
            pairs.for_each(|(a, b)| *a = (*a + b) / 2.0);
        }
        calls += 1;
        optimizer.step(&mut other, ours, 0.5, &device)
    };
    let first = fit(&mut One::new(0..4), 1, Some(&mut average));
    assert_eq!(calls, 2);
    assert_same_bits(&first, &whole);
    assert_same_bits(&other, &whole);
    assert!(
        !first.param("fc.weight").unwrap().value().same_bits(linear().param("fc.weight").unwrap().value())
    );
    let alone = fit(&mut One::new(0..4), 1, None);
    assert!(!alone.param("fc.weight").unwrap().value().same_bits(whole.param("fc.weight").unwrap().value()));
}

#[test]
fn plans_are_evaluated_like_graphs() {
    let device = Device::cpu();
    let (graph, _) = Setup { epochs: 1, ..Setup::default() }.train();
    let expected = evaluate(&graph, &mut Colors::new(3), &device).unwrap();
    assert!((0.3..1.0).contains(&expected.accuracy.top1()), "{expected:?}");
    for (planned, linear, tolerance) in
        [(12, Dtype::F32, 1e-5), (17, Dtype::F32, 1e-5), (12, Dtype::Bf16, 1e-2)]
    {
        let options = PlanOptions { linear, ..PlanOptions::default() };
        let mut plan = Plan::with(&graph, [planned, 6, 6, 3], &device, options).unwrap();
        let found = evaluate(&mut plan, &mut Colors::new(3), &device).unwrap();
        assert_eq!(found.accuracy.total, expected.accuracy.total);
        assert!((found.loss - expected.loss).abs() <= tolerance * expected.loss, "{found:?}, {expected:?}");
        if linear == Dtype::F32 {
            assert_eq!(found.accuracy, expected.accuracy);
        }
    }
    let mut small = Plan::new(&graph, [8, 6, 6, 3], &device).unwrap();
    let error = evaluate(&mut small, &mut Colors::new(3), &device).unwrap_err().to_string();
    assert!(error.contains("expected at most [8, 6, 6, 3], found [12, 6, 6, 3]"), "{error}");
}
