//! Sparsification while training: sparsity follows its schedule, and what is dropped stays at exactly zero.

use crate::support::*;
use lopper_compress::criteria::*;
use lopper_compress::granularity::Granularity;
use lopper_compress::sparsify::*;
use lopper_compress::{Context, Criterion};
use lopper_engine::train::{
    Callback, Checkpoint, CrossEntropy, EpochMetrics, Flow, Keeper, MovingAverage, Optimizer,
    OptimizerConfig, Schedule, State, Step, Trainer,
};
use lopper_engine::{Device, Graph, Result};
use std::collections::BTreeMap;

const OPTIMIZERS: [OptimizerConfig; 3] = [
    OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-3 },
    OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 },
    OptimizerConfig::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 },
];

/// Checks after every step what must hold there. It stands behind the sparsifier in the list of callbacks.
struct Witness {
    config: SparsifyConfig,
    masks: BTreeMap<String, Vec<f32>>,
    steps: usize,
}

impl Callback for Witness {
    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        for (path, param) in step.graph.params() {
            let Some(mask) = param.mask() else {
                assert!(!self.masks.contains_key(&path), "{path} lost its mask");
                continue;
            };
            for (&w, &m) in param.value().data().iter().zip(mask.data()) {
                assert!(m == 1.0 || w.to_bits() == 0, "{path}: a dropped weight is {w}");
            }
            if let Some(before) = self.masks.insert(path.clone(), mask.data().to_vec()) {
                assert!(before.iter().zip(mask.data()).all(|(&b, &m)| m <= b), "{path}: a weight returned");
            }
        }
        let measured = Sparsity::measure(step.graph, &self.config)?;
        let target = self.config.sparsity_at(step.progress.end_of_step()).unwrap();
        let groups: usize = measured.layers.iter().map(|l| l.groups).sum();
        // Rounded once (global), or in each layer (local).
        let roundings = if self.config.context == Context::Global { 1 } else { measured.layers.len() };
        let off = (measured.of_groups() - target).abs() * groups as f64;
        assert!(
            off <= 0.5 * roundings as f64 + 1e-9,
            "{} of {target} in {groups} groups",
            measured.of_groups()
        );
        self.steps += 1;
        Ok(Flow::Continue)
    }
}

fn run(config: &SparsifyConfig, optimizer: &mut Optimizer, epochs: usize) -> Result<(Graph, Sparsifier)> {
    let mut graph = small_net(3);
    let mut sparsifier = Sparsifier::new(config.clone())?;
    let mut witness = Witness { config: config.clone(), masks: BTreeMap::new(), steps: 0 };
    let callbacks: Vec<&mut dyn Callback> = vec![&mut sparsifier, &mut witness];
    train(&mut graph, optimizer, epochs, &mut CrossEntropy::default(), callbacks)?;
    assert_eq!(witness.steps, 4 * epochs);
    Ok((graph, sparsifier))
}

#[test]
fn dropped_weights_stay_zero_through_momentum() {
    for optimizer in OPTIMIZERS {
        for granularity in [Granularity::WEIGHT, Granularity::KERNEL, Granularity::FILTER, Granularity::ROW] {
            for context in [Context::Local, Context::Global] {
                let config = SparsifyConfig { granularity, context, ..SparsifyConfig::new(0.5) };
                let mut optimizer = Optimizer::new(optimizer);
                let (graph, _) = run(&config, &mut optimizer, 3).unwrap();
                // Momentum does push against the masks: without them these weights would move.
                let pushed =
                    graph.params().filter_map(|(path, p)| Some((path, p.mask()?))).any(|(path, mask)| {
                        let velocity = optimizer.moments(&path).unwrap()[0].data();
                        velocity.iter().zip(mask.data()).any(|(&v, &m)| m == 0.0 && v != 0.0)
                    });
                assert!(pushed, "{config:?}");
            }
        }
    }
}

#[test]
fn every_criterion_and_schedule_arrives() {
    for criterion in [Criterion::from(LargeFinal), Random.into(), Taylor.into(), BatchNormGamma.into()] {
        for schedule in [
            SparsitySchedule::OneShot,
            SparsitySchedule::Iterative { steps: 3 },
            SparsitySchedule::Linear,
            SparsitySchedule::Cosine,
            SparsitySchedule::Gradual,
        ] {
            let config = SparsifyConfig {
                criterion: criterion.clone(),
                schedule,
                start: 0.25,
                end: 0.75,
                ..SparsifyConfig::new(0.5)
            };
            let (graph, sparsifier) = run(&config, &mut Optimizer::new(OPTIMIZERS[0]), 2).unwrap();
            assert_eq!(Sparsity::measure(&graph, &config).unwrap().of_groups(), 0.5, "{config:?}");
            let last = sparsifier.history().last().unwrap();
            assert_eq!((last.target, last.sparsity), (0.5, 0.5));
            assert!(sparsifier.report(&graph).unwrap().to_string().contains("of 6 filters kept"));
        }
    }
}

/// Runs of inputs lose the same number at each moment of a schedule, and end at exactly N of M.
#[test]
fn n_of_m_grows_run_by_run() {
    struct Runs(Vec<usize>);
    impl Callback for Runs {
        fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
            let mask = step.graph.param("body.conv2.weight").unwrap().mask();
            let kept = |mask: &lopper_engine::Tensor| -> Vec<usize> {
                mask.data().chunks(3).map(|run| run.iter().filter(|&&m| m == 1.0).count()).collect()
            };
            let kept = mask.map_or(vec![3; 16], kept);
            assert!(kept.iter().all(|&count| count == kept[0]), "{kept:?}");
            self.0.push(kept[0]);
            Ok(Flow::Continue)
        }
    }
    for (schedule, expected) in [
        (SparsitySchedule::Linear, [3, 2, 2, 2, 2, 1, 1, 1]),
        (SparsitySchedule::OneShot, [1; 8]),
        (SparsitySchedule::DenseSparseDense, [3, 3, 1, 1, 1, 3, 3, 3]),
    ] {
        let config = SparsifyConfig {
            sparsity: None,
            granularity: Granularity::WEIGHT.keep(1, 3),
            schedule: schedule.clone(),
            include: vec!["body.conv2".into()],
            ..SparsifyConfig::new(0.0)
        };
        let (mut graph, mut runs) = (small_net(3), Runs(Vec::new()));
        let mut sparsifier = Sparsifier::new(config).unwrap();
        let callbacks: Vec<&mut dyn Callback> = vec![&mut sparsifier, &mut runs];
        let mut optimizer = Optimizer::new(OPTIMIZERS[2]);
        train(&mut graph, &mut optimizer, 2, &mut CrossEntropy::default(), callbacks).unwrap();
        assert_eq!(runs.0, expected, "{schedule}");
    }
}

/// The sparsity at the end of each of 10 epochs, in percent of the filters, as published for VGG16 on
/// Imagenette.
#[test]
fn ten_epochs_pass_the_published_sparsities() {
    let config = SparsifyConfig::new(0.5);
    let (_, sparsifier) = run(&config, &mut Optimizer::new(OPTIMIZERS[2]), 10).unwrap();
    let at_end = |epoch| sparsifier.history().iter().rfind(|r| r.epoch == epoch).unwrap();
    let published = ["1.22", "4.77", "10.31", "17.27", "25.00", "32.73", "39.69", "45.23", "48.78", "50.00"];
    for (epoch, published) in published.iter().enumerate() {
        let Record { target, sparsity, .. } = at_end(epoch);
        assert_eq!(format!("{:.2}", 100.0 * target), *published);
        assert!((target - sparsity).abs() <= 0.5 / 14.0, "14 filters: {sparsity} for {target}");
    }
}

#[test]
fn masks_move_every_few_steps_and_at_the_last() {
    let config = SparsifyConfig { every: 3, ..SparsifyConfig::new(0.5) };
    let mut sparsifier = Sparsifier::new(config).unwrap();
    let optimizer = &mut Optimizer::new(OPTIMIZERS[0]);
    train(&mut small_net(3), optimizer, 2, &mut CrossEntropy::default(), vec![&mut sparsifier]).unwrap();
    assert_eq!(sparsifier.history().iter().map(|r| r.step).collect::<Vec<_>>(), [2, 5, 7]);
    assert_eq!(sparsifier.history().iter().map(|r| r.epoch).collect::<Vec<_>>(), [0, 1, 1]);
}

#[test]
fn training_does_not_begin_with_a_layer_that_is_not_there() {
    let run =
        |config| run(&config, &mut Optimizer::new(OPTIMIZERS[0]), 1).map(|_| ()).unwrap_err().to_string();
    let error = run(SparsifyConfig { include: vec!["layer9".into()], ..SparsifyConfig::new(0.5) });
    assert!(error.contains("sparsify include") && error.contains("`layer9`"), "{error}");
    let error = run(SparsifyConfig { exclude: vec!["body".into()], ..SparsifyConfig::new(0.5) });
    assert!(error.contains("no layer is left"), "{error}");
    assert!(run(SparsifyConfig::new(2.0)).contains("found 2"));
}

/// Gradients of a network that is not being trained: the estimate predicts what removing a weight does to the
/// loss.
#[test]
fn taylor_predicts_the_change_of_the_loss() {
    let device = Device::cpu();
    let graph = small_net(3);
    let mut data = Toy::new(1, 3);
    let config = SparsifyConfig {
        granularity: Granularity::WEIGHT,
        criterion: Taylor.into(),
        include: vec!["fc2".into()],
        ..SparsifyConfig::new(0.5)
    };
    let sites = config.sites(&graph).unwrap();
    let evidence = Evidence::measure(&config.criterion, &graph, &sites, &mut data, 1, &device).unwrap();
    let scoring = Scoring::new(&config.criterion).evidence(Some(&evidence));
    let scores = scoring.scores(&graph, &sites[0]).unwrap();
    let mut loss_where = |i: usize, factor: f32| {
        let mut graph = graph.clone();
        graph.param_mut("fc2.weight").unwrap().update(|w| w[i] *= factor);
        lopper_engine::train::evaluate(&graph, &mut data, &device).unwrap().loss
    };
    for (i, &score) in scores.iter().enumerate() {
        // A part of the way, since it is a first-order estimate: the slope along −w.
        let slope = (loss_where(i, 1.02) - loss_where(i, 0.98)).abs() / 0.04;
        assert!((slope - f64::from(score)).abs() < 1e-3 + 0.02 * slope, "weight {i}: {slope} and {score}");
    }
    assert!(scores.iter().any(|&s| s > 0.01));
}

/// Dense, sparse, dense: in the middle third half of the weights are zero, at the end no mask is left but the one that
/// was there before.
#[test]
fn dense_sparse_dense_gives_back_what_it_dropped() {
    struct Count(Vec<(usize, usize)>);
    impl Callback for Count {
        fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
            let count = |layer: &str| {
                let weight = step.graph.param(&format!("{layer}.weight")).unwrap();
                weight.value().data().iter().filter(|&&w| w == 0.0).count()
            };
            self.0.push((count("body.conv1"), count("fc1")));
            Ok(Flow::Continue)
        }
    }
    let config = SparsifyConfig {
        granularity: Granularity::WEIGHT,
        context: Context::Local,
        schedule: SparsitySchedule::DenseSparseDense,
        include: vec!["body.conv1".into(), "fc1".into()],
        ..SparsifyConfig::new(0.5)
    };
    let mut graph = small_net(3);
    let before = SparsifyConfig { include: vec!["fc1".into()], ..config.clone() };
    graph = sparsify(&graph, &SparsifyConfig { sparsity: Some(0.25), ..before }, None).unwrap().graph;
    let mask = graph.param("fc1.weight").unwrap().mask().unwrap().clone();

    let (mut sparsifier, mut count) = (Sparsifier::new(config).unwrap(), Count(Vec::new()));
    let callbacks: Vec<&mut dyn Callback> = vec![&mut sparsifier, &mut count];
    let optimizer = &mut Optimizer::new(OPTIMIZERS[0]);
    train(&mut graph, optimizer, 3, &mut CrossEntropy::default(), callbacks).unwrap();
    // 12 steps, 108 and 80 weights. The end of step 4 is 1/3, the end of step 8 is 2/3, where the masks go; what comes
    // back at zero moves in the step after.
    for (step, &(conv1, fc1)) in count.0.iter().enumerate() {
        let expected = if (3..=7).contains(&step) { (54, 40) } else { (0, 20) };
        assert_eq!((conv1, fc1), expected, "step {step}");
    }
    assert!(graph.param("body.conv1.weight").unwrap().mask().is_none());
    assert!(graph.param("fc1.weight").unwrap().mask().unwrap().same_bits(&mask));
    let records: Vec<_> = sparsifier.history().iter().map(|r| (r.step, r.target)).collect();
    assert_eq!(records, [(3, 0.5), (7, 0.0)]);
}

/// A training that is stopped after any step and gone on with by another sparsifier: same history, same bits.
#[test]
fn what_a_sparsifier_remembers_outlives_an_interruption() {
    let part = |(criterion, rewind): (&str, Option<usize>),
                schedule: &SparsitySchedule,
                from: Option<Checkpoint>,
                keeper: Option<&mut dyn Keeper>| {
        let config = SparsifyConfig {
            criterion: criterion.parse().unwrap(),
            schedule: schedule.clone(),
            granularity: Granularity::WEIGHT,
            rewind,
            reset_end: rewind.is_some(),
            ..SparsifyConfig::new(0.6)
        };
        let (mut graph, mut sparsifier) = (small_net(3), Sparsifier::new(config).unwrap());
        let trainer = Trainer {
            device: &Device::cpu(),
            optimizer: &mut Optimizer::new(OPTIMIZERS[2]),
            schedule: Schedule::Constant,
            learning_rate: 0.05,
            epochs: 2,
            seed: 7,
            objective: &mut CrossEntropy::default(),
            callbacks: vec![&mut sparsifier],
            reduce: None,
        };
        let done = trainer.fit_kept(&mut graph, &mut Toy::new(4, 3), None, from, keeper);
        (graph, sparsifier.history().to_vec(), done.is_ok())
    };
    for (criterion, schedule) in [
        (("taylor", None), SparsitySchedule::Linear),
        (("random", None), SparsitySchedule::Linear),
        (("taylor", None), SparsitySchedule::DenseSparseDense),
        (("large_final", Some(2)), SparsitySchedule::Iterative { steps: 3 }),
    ] {
        let schedule = &schedule;
        let (whole, history, _) = part(criterion, schedule, None, None);
        for step in 0..8 {
            let mut stopper = StopAfter(step, None);
            let (_, begun, done) = part(criterion, schedule, None, Some(&mut stopper));
            assert!(!done && begun[..] == history[..begun.len()]);
            let (rest, again, done) = part(criterion, schedule, stopper.1, None);
            assert!(done && same_bits(&whole, &rest), "{criterion:?} stopped after step {step}");
            assert_eq!(again, history);
        }
    }
}

#[test]
fn a_damaged_state_of_sparsification_is_refused() {
    let mut sparsifier = Sparsifier::new(SparsifyConfig::new(0.5)).unwrap();
    let whole = sparsifier.state();
    sparsifier.restore(whole.clone()).unwrap();
    let with = |observed: &str, sums: &str| State {
        value: serde_json::json!({ "history": [], "observed": { observed: 1 }, "initial": {}, "before": {} }),
        arrays: [(format!("observed/{sums}"), vec![1.0])].into(),
    };
    assert!(sparsifier.restore(with("a", "a")).is_ok());
    let mask = State {
        value: serde_json::json!({ "history": [], "observed": {}, "initial": {}, "before": { "1": [2] } }),
        arrays: [("before/1".to_string(), vec![1.0])].into(),
    };
    for damaged in [with("a", "b"), mask, State::default(), State { value: 3.into(), ..whole }] {
        assert!(sparsifier.restore(damaged).unwrap_err().to_string().starts_with("checkpoint: "));
    }
}

/// The last batch of each epoch cannot be read, so the last step is not taken: neither the target nor the average, which
/// is what remains of the training, may stop short of it.
#[test]
fn missing_batches_do_not_keep_the_sparsity_from_its_target() {
    for every in [1, 3, 5] {
        let config = SparsifyConfig { every, granularity: Granularity::WEIGHT, ..SparsifyConfig::new(0.5) };
        let (mut graph, device) = (small_net(3), Device::cpu());
        let mut sparsifier = Sparsifier::new(config.clone()).unwrap();
        let mut average = MovingAverage::new(0.9).unwrap();
        let mut validated = Validated::default();
        let trainer = Trainer {
            device: &device,
            optimizer: &mut Optimizer::new(OPTIMIZERS[0]),
            schedule: Schedule::Constant,
            learning_rate: 0.05,
            epochs: 2,
            seed: 7,
            objective: &mut CrossEntropy::default(),
            callbacks: vec![&mut sparsifier, &mut average, &mut validated],
            reduce: None,
        };
        let toy = || Toy::new(4, 3);
        trainer.fit(&mut graph, &mut Gaps(toy()), Some(&mut toy())).unwrap();
        let last = sparsifier.history().last().unwrap();
        assert_eq!((last.epoch, last.step, last.target), (1, 7, 0.5), "every {every}");
        for network in [&graph, validated.0.last().unwrap()] {
            for (path, param) in graph.params().filter(|(_, param)| param.mask().is_some()) {
                let (weights, mask) = (network.param(&path).unwrap().value(), param.mask().unwrap());
                let mut pairs = weights.data().iter().zip(mask.data());
                assert!(pairs.all(|(&w, &m)| m == 1.0 || w == 0.0), "{path}, every {every}");
            }
        }
        let zeros = Sparsity::measure(&graph, &config).unwrap();
        assert!((zeros.of_groups() - 0.5).abs() < 0.01, "{}", zeros.of_groups());
    }
}

/// Keeps the networks that were validated.
#[derive(Default)]
struct Validated(Vec<Graph>);

impl Callback for Validated {
    fn on_evaluated(&mut self, network: &Graph, _: &EpochMetrics) -> Result<Flow> {
        self.0.push(network.clone());
        Ok(Flow::Continue)
    }
}
