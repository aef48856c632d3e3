//! Training with teachers: adapters, peers, branches, several teachers, scheduled weights, cached logits.

mod refusals;
#[path = "../support/mod.rs"]
mod support;

use lopper_compress::distill::*;
use lopper_compress::sparsify::SparsitySchedule;
use lopper_engine::data::Batch;
use lopper_engine::train::{
    Checkpoint, CrossEntropy, EpochMetrics, Keeper, Objective, Optimizer, OptimizerConfig, Progress,
    Schedule, Trainer,
};
use lopper_engine::{Device, Graph, Mode, Result, Tape};
use support::*;

const ADAM: OptimizerConfig = OptimizerConfig::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };
const IMAGE: [usize; 3] = [4, 4, 2];
const TASK: CrossEntropy = CrossEntropy { smoothing: 0.0 };

/// A student and a teacher of other widths with the same resolutions.
fn networks() -> (Graph, Graph) {
    let teacher = Chain::new(2)
        .then("wide", conv(9, 2, 3, 1, 31))
        .then("bn", lopper_engine::Layer::BatchNorm(lopper_engine::layer::BatchNorm::new(9)))
        .then("relu", lopper_engine::Layer::Activation(lopper_engine::layer::Activation::Relu))
        .then("flatten", lopper_engine::Layer::Flatten)
        .then("fc", linear(3, 144, 32))
        .graph;
    (small_net(3), teacher)
}

fn objective(config: DistillConfig) -> Distillation {
    let (student, teacher) = networks();
    Distillation::new(config, TASK, &student, teacher, IMAGE).unwrap()
}

/// Trains [`small_net`] for two epochs of four steps on `device`.
fn run(
    objective: &mut dyn Objective,
    device: &Device,
    from: Option<Checkpoint>,
    keeper: Option<&mut dyn Keeper>,
) -> (Graph, Result<Vec<EpochMetrics>>) {
    let mut graph = small_net(3);
    graph.info.input = IMAGE;
    graph.info.classes = ["a", "b", "c"].map(String::from).to_vec();
    let trainer = Trainer {
        device,
        optimizer: &mut Optimizer::new(ADAM),
        schedule: Schedule::Constant,
        learning_rate: 0.05,
        epochs: 2,
        seed: 7,
        objective,
        callbacks: Vec::new(),
        reduce: None,
    };
    let done = trainer.fit_kept(&mut graph, &mut Toy::new(4, 3), None, from, keeper);
    (graph, done)
}

fn hint(loss: FeatureLoss) -> DistillConfig {
    let hints = vec![Hint { loss, ..Hint::new("body.conv2", "bn") }];
    DistillConfig { weight: 0.5, hints, ..DistillConfig::default() }
}

/// Every option that remembers something, or has a gradient of its own.
fn configurations() -> Vec<(&'static str, DistillConfig)> {
    let mut all = vec![
        ("adapter", hint(FeatureLoss::Mse)),
        ("boundaries", hint(FeatureLoss::Boundaries)),
        ("mutual", DistillConfig { mutual: true, temperature: 1.0, ..DistillConfig::default() }),
        (
            "branches",
            DistillConfig {
                branches: vec!["body.relu1".into(), "fc1".into()],
                branch_hint: 0.1,
                ..DistillConfig::default()
            },
        ),
        ("cache", DistillConfig { cache: 1, ..DistillConfig::default() }),
        // Two batches and a half: entries are replaced.
        ("bank", DistillConfig { bank: 20, embedding: 5, ..hint(FeatureLoss::Crd) }),
        (
            "schedule",
            DistillConfig {
                schedule: Some(SparsitySchedule::Linear),
                initial_weight: 1.0,
                weight: 0.0,
                loss: DistillLoss::Dkd,
                ..DistillConfig::default()
            },
        ),
    ];
    for &loss in FeatureLoss::ALL {
        all.push(("hint", hint(loss)));
        let features = vec![Features { loss, weight: 0.5 }];
        all.push((
            "features",
            DistillConfig { features, loss: DistillLoss::None, ..DistillConfig::default() },
        ));
    }
    for &loss in DistillLoss::ALL.iter().filter(|&&loss| loss != DistillLoss::None) {
        all.push(("logits", DistillConfig { loss, ..DistillConfig::default() }));
    }
    all
}

/// A training that is stopped after any step and gone on with: the same bits. So are those of another number of threads.
#[test]
fn interruptions_and_threads_change_no_bit() {
    let device = Device::cpu();
    for (name, config) in configurations() {
        let (whole, metrics) = run(&mut objective(config.clone()), &device, None, None);
        let metrics = metrics.unwrap();
        let (other, _) =
            run(&mut objective(config.clone()), &Device::open("cpu", Some(3)).unwrap(), None, None);
        assert!(same_bits(&whole, &other), "{name}: threads: {config:?}");
        for step in [0, 3, 5] {
            let mut stopper = StopAfter(step, None);
            run(&mut objective(config.clone()), &device, None, Some(&mut stopper)).1.unwrap_err();
            // Through a file, as the program does it.
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("c.safetensors");
            stopper.1.unwrap().write(&path).unwrap();
            let checkpoint = Checkpoint::read(&path).unwrap();
            let (rest, again) = run(&mut objective(config.clone()), &device, Some(checkpoint), None);
            assert!(same_bits(&whole, &rest), "{name}: stopped after step {step}: {config:?}");
            let parts =
                |metrics: &[EpochMetrics]| metrics.iter().map(|m| m.parts.unwrap()).collect::<Vec<_>>();
            assert_eq!(parts(&metrics), parts(&again.unwrap()), "{name}");
        }
    }
}

/// The loss and its parts of the first step.
fn first(objective: &mut Distillation, student: &Graph, batch: &Batch) -> (f64, f64, f64) {
    let mut tape = Tape::new(&Device::cpu());
    let pass = student.forward(&mut tape, Mode::Train, batch.images.clone(), &objective.taps()).unwrap();
    let loss = objective.loss(&mut tape, &pass, batch).unwrap();
    let parts = objective.parts().unwrap();
    (f64::from(loss.value().item().unwrap()), parts.task, parts.distillation)
}

#[test]
fn the_loss_is_the_weighted_sum_of_its_logged_parts() {
    let batch = Toy::new(1, 3).batch(0);
    let config = DistillConfig { weight: 0.3, loss: DistillLoss::Logits, ..DistillConfig::default() };
    let (loss, task, distance) = first(&mut objective(config.clone()), &small_net(3), &batch);
    assert!((loss - (0.7 * task + 0.3 * distance)).abs() < 1e-5 * loss);
    let (_, metrics) = run(&mut objective(config), &Device::cpu(), None, None);
    for epoch in metrics.unwrap() {
        let parts = epoch.parts.unwrap();
        assert!(
            (epoch.train_loss - (0.7 * parts.task + 0.3 * parts.distillation)).abs()
                < 1e-4 * epoch.train_loss
        );
    }
    let (_, plain) = run(&mut CrossEntropy::default(), &Device::cpu(), None, None);
    assert!(plain.unwrap().iter().all(|epoch| epoch.parts.is_none()));
}

#[test]
fn the_weight_follows_its_schedule() {
    let config = DistillConfig {
        weight: 0.2,
        initial_weight: 0.8,
        schedule: Some(SparsitySchedule::Linear),
        start: 0.25,
        end: 0.75,
        ..DistillConfig::default()
    };
    for (fraction, expected) in [(0.0, 0.8), (0.25, 0.8), (0.5, 0.5), (0.75, 0.2), (1.0, 0.2)] {
        assert!((config.weight_at(fraction) - expected).abs() < 1e-6, "{fraction}");
    }
    let batch = Toy::new(1, 3).batch(0);
    let mut objective = objective(config);
    objective.begin_step(Progress { epoch: 0, epochs: 1, step: 2, steps: 4 });
    let (loss, task, distance) = first(&mut objective, &small_net(3), &batch);
    assert!((loss - 0.5 * (task + distance)).abs() < 1e-5 * loss);
}

/// Of soft targets, the mean of several teachers' losses has the gradient of the loss against their mean.
#[test]
fn several_teachers_share_the_loss() {
    let batch = Toy::new(1, 3).batch(0);
    let (student, teacher) = networks();
    let other = small_net(3);
    let config = DistillConfig { weight: 1.0, ..DistillConfig::default() };
    let value = |teachers: Vec<(Graph, f32)>| {
        let mut objective =
            Distillation::of_teachers(config.clone(), TASK, &student, teachers, IMAGE).unwrap();
        first(&mut objective, &student, &batch).0
    };
    let (one, two) = (value(vec![(teacher.clone(), 1.0)]), value(vec![(other.clone(), 1.0)]));
    let both = value(vec![(teacher, 0.25), (other, 0.75)]);
    assert!((both - (0.25 * one + 0.75 * two)).abs() < 1e-5 * both, "{both}, {one}, {two}");
    let written: Teachers = toml::from_str::<toml::Table>(
        "teacher = [\"a\", { network = \"b\", weight = 3 }]",
    )
    .unwrap()["teacher"]
        .clone()
        .try_into()
        .unwrap();
    assert_eq!((written.names(), written.shares()), (vec!["a", "b"], vec![0.25, 0.75]));
}

/// A cache changes no bit, and the teacher runs once for each of the four batches that recur in both epochs.
#[test]
fn cached_logits_change_no_bit() {
    let run_with = |cache: usize| {
        let config = DistillConfig { cache, loss: DistillLoss::Normkd, ..DistillConfig::default() };
        run(&mut objective(config), &Device::cpu(), None, None).0
    };
    assert!(same_bits(&run_with(0), &run_with(1)));
}

#[test]
fn adapters_learn_and_leave_the_student_as_it_was_built() {
    let config = DistillConfig { loss: DistillLoss::None, weight: 1.0, ..hint(FeatureLoss::Mse) };
    let (trained, metrics) = run(&mut objective(config), &Device::cpu(), None, None);
    let metrics = metrics.unwrap();
    let distance = |epoch: usize| metrics[epoch].parts.unwrap().distillation;
    assert!(distance(1) < 0.8 * distance(0), "{} → {}", distance(0), distance(1));
    let names = |graph: &Graph| graph.params().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(names(&trained), names(&small_net(3)));
}

/// Both networks get nearer to each other than when the peer stands still, and the peer's own task improves.
#[test]
fn networks_that_teach_each_other_both_learn() {
    let config = DistillConfig { mutual: true, temperature: 1.0, ..DistillConfig::default() };
    let mut mutual = objective(config);
    let before = mutual.teacher().unwrap().clone();
    let (_, metrics) = run(&mut mutual, &Device::cpu(), None, None);
    let loss = |graph: &Graph| {
        lopper_engine::train::evaluate(graph, &mut Toy::new(4, 3), &Device::cpu()).unwrap().loss
    };
    assert!(loss(mutual.teacher().unwrap()) < 0.5 * loss(&before), "the peer learns");
    assert!(metrics.unwrap()[1].parts.unwrap().distillation.is_finite());
    assert!(mutual.teacher().unwrap().nodes().iter().all(|node| node.name.starts_with("peer: ")));
}

#[test]
fn a_student_of_its_own_deeper_layers_needs_no_teacher() {
    let config =
        DistillConfig { branches: vec!["body.relu1".into()], weight: 0.4, ..DistillConfig::default() };
    let student = small_net(3);
    let mut own = Distillation::of_teachers(config, TASK, &student, Vec::new(), IMAGE).unwrap();
    let (loss, task, distance) = first(&mut own, &student, &Toy::new(1, 3).batch(0));
    // The branch's own task loss is the rest, and it is near log 3 for a new classifier.
    let branch = (loss - task - 0.4 * distance) / 0.6;
    assert!((0.5..3.0).contains(&branch), "{branch}");
    let (_, metrics) = run(&mut own, &Device::cpu(), None, None);
    let metrics = metrics.unwrap();
    assert!(metrics[1].train_loss < metrics[0].train_loss);
}

/// The hint adds λ times the distance of the features, which are constants there: layers behind the branch do not feel it.
#[test]
fn branches_imitate_the_features_that_are_classified() {
    let student = small_net(3);
    let first_step = |branch_hint: f32| {
        let branches = vec!["body.relu1".into()];
        let config = DistillConfig { branches, branch_hint, weight: 0.4, ..DistillConfig::default() };
        let mut own = Distillation::of_teachers(config, TASK, &student, Vec::new(), IMAGE).unwrap();
        let (loss, _, distance) = first(&mut own, &student, &Toy::new(1, 3).batch(0));
        (loss, distance)
    };
    let [(without, none), (half, some), (whole, more)] = [0.0, 0.5, 1.0].map(first_step);
    let hint = half - without;
    assert!(hint > 1e-3, "{hint}");
    assert!((hint - (some - none)).abs() < 1e-4 && (2.0 * hint - (more - none)).abs() < 1e-4);
    assert!((whole - without - 2.0 * hint).abs() < 1e-4, "{whole}");
    let config = DistillConfig { branch_hint: 0.1, ..DistillConfig::default() };
    assert!(config.check().unwrap_err().to_string().contains("expected branches beside it"));
}

#[test]
fn layers_of_one_resolution_are_found() {
    let batch = Toy::new(1, 3).batch(0);
    let features = |loss| {
        let features = vec![Features { loss, weight: 2.0 }];
        DistillConfig { features, loss: DistillLoss::None, weight: 1.0, ..DistillConfig::default() }
    };
    // The last layers of 4 × 4 pixels: `body.bn2` and `relu`, of the teacher before its activation `bn`.
    for (loss, teacher) in
        [(FeatureLoss::Attention, "relu"), (FeatureLoss::Boundaries, "bn"), (FeatureLoss::Ofd, "bn")]
    {
        let named = DistillConfig {
            features: Vec::new(),
            hints: vec![Hint { loss, weight: 2.0, ..Hint::new("body.bn2", teacher) }],
            ..features(loss)
        };
        let found = first(&mut objective(features(loss)), &small_net(3), &batch);
        assert_eq!(found, first(&mut objective(named), &small_net(3), &batch), "{loss}");
    }
}

/// A student whose values are the teacher's has nothing left to learn, but for what the margin lifts: of standard normal
/// values, those below −√(2/π). Its adapter is left out, and its batch norm with it.
#[test]
fn the_overhaul_has_the_margin_of_the_teachers_batch_norm() {
    let (_, teacher) = networks();
    let hint = Hint { loss: FeatureLoss::Ofd, adapter: Some(false), weight: 1.0, ..Hint::new("bn", "bn") };
    let config = DistillConfig { hints: vec![hint], loss: DistillLoss::None, ..DistillConfig::default() };
    let batch = Toy::new(1, 3).batch(0);
    let mut own = Distillation::new(config, TASK, &teacher, teacher.clone(), IMAGE).unwrap();
    let mut tape = Tape::new(&Device::cpu());
    let pass = teacher.forward(&mut tape, Mode::Eval, batch.images.clone(), &own.taps()).unwrap();
    let values = pass.taps[0].value().data().to_vec();
    own.loss(&mut tape, &pass, &batch).unwrap();
    let margin = -(2.0 / std::f64::consts::PI).sqrt();
    // Below the margin the student is below the target, which is negative: nothing to learn there either.
    assert!(values.iter().any(|&x| f64::from(x) < margin) && values.iter().any(|&x| x > 0.0));
    assert_eq!(own.parts().unwrap().distillation, 0.0);
}

/// The adapter normalizes: a student of any scale is compared on the teacher's.
#[test]
fn the_overhaul_adapts_the_scale_of_the_student() {
    let config = DistillConfig { loss: DistillLoss::None, weight: 1.0, ..hint(FeatureLoss::Ofd) };
    let batch = Toy::new(1, 3).batch(0);
    let distance = |scale: f32| {
        let mut student = small_net(3);
        let weight = student.param_mut("body.conv2.weight").unwrap();
        let scaled: Vec<f32> = weight.value().data().iter().map(|w| w * scale).collect();
        weight.set_value(lopper_engine::Tensor::from_vec(weight.value().shape(), scaled).unwrap()).unwrap();
        first(&mut objective(config.clone()), &student, &batch).2
    };
    let (one, large) = (distance(1.0), distance(1000.0));
    assert!((one - large).abs() < 1e-3 * one, "{one}, {large}");
}

/// Both heads learn, and the student with them: embeddings of an image by both networks approach each other. Without hints,
/// the features that both networks classify are contrasted.
#[test]
fn contrast_finds_the_features_that_are_classified_and_learns() {
    let features = vec![Features { loss: FeatureLoss::Crd, weight: 1.0 }];
    let named = vec![Hint { loss: FeatureLoss::Crd, ..Hint::new("relu3", "flatten") }];
    let base = || DistillConfig { loss: DistillLoss::None, weight: 1.0, ..DistillConfig::default() };
    let (found, by_name) = (DistillConfig { features, ..base() }, DistillConfig { hints: named, ..base() });
    let (one, metrics) = run(&mut objective(found), &Device::cpu(), None, None);
    let (other, _) = run(&mut objective(by_name.clone()), &Device::cpu(), None, None);
    assert!(same_bits(&one, &other));
    let metrics = metrics.unwrap();
    let distance = |epoch: usize| metrics[epoch].parts.unwrap().distillation;
    assert!(distance(1) < 0.8 * distance(0), "{} → {}", distance(0), distance(1));
    // A batch has 8 images.
    let small = DistillConfig { bank: 7, ..by_name };
    let error = run(&mut objective(small), &Device::cpu(), None, None).1.unwrap_err().to_string();
    assert!(error.contains("bank: expected room for the 8 images of a batch, found 7"), "{error}");
}

/// Mixed images weigh losses that know labels like the task.
#[test]
fn mixed_images_have_the_loss_of_both_labels() {
    let mut batch = Toy::new(1, 3).batch(0);
    let config = DistillConfig { loss: DistillLoss::Dkd, weight: 1.0, ..DistillConfig::default() };
    let distance = |batch: &Batch| first(&mut objective(config.clone()), &small_net(3), batch).2;
    let others: Vec<u32> = batch.labels.iter().map(|label| (label + 1) % 3).collect();
    let (a, b) = (distance(&batch), distance(&Batch { labels: others.clone(), ..batch.clone() }));
    batch.mixed = Some(lopper_engine::data::Mixed { labels: others, share: 0.25 });
    assert!((distance(&batch) - (0.75 * a + 0.25 * b)).abs() < 1e-5 * a.max(b));
}
