//! Distillation: its loss and gradients from their definitions, and what it does not change.

use crate::support::*;
use lopper_compress::distill::*;
use lopper_engine::data::Batch;
use lopper_engine::layer::{Activation, Layer};
use lopper_engine::train::{CrossEntropy, Objective, Optimizer, OptimizerConfig, evaluate};
use lopper_engine::{Device, Error, Graph, Mode, ParamGradients, Tape, Tensor};

const ADAM: OptimizerConfig = OptimizerConfig::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };
const IMAGE: [usize; 3] = [4, 4, 2];
const TASK: CrossEntropy = CrossEntropy { smoothing: 0.0 };

/// `flatten → hidden → fc`: 32 → `hidden` → `classes` features, without batch norms.
fn plain_net(hidden: usize, classes: usize, seed: u64) -> Graph {
    Chain::new(2)
        .then("flatten", Layer::Flatten)
        .then("hidden", linear(hidden, 32, seed))
        .then("fc", linear(classes, hidden, seed + 1))
        .graph
}

fn hint(student: &str, teacher: &str) -> Hint {
    Hint { weight: 0.25, ..Hint::new(student, teacher) }
}

/// Loss and gradients of one training step.
fn step(objective: &mut dyn Objective, student: &Graph, batch: &Batch) -> (f64, ParamGradients) {
    let mut tape = Tape::new(&Device::cpu());
    let pass = student.forward(&mut tape, Mode::Train, batch.images.clone(), &objective.taps()).unwrap();
    let loss = objective.loss(&mut tape, &pass, batch).unwrap();
    let value = loss.value().item().unwrap();
    (f64::from(value), pass.gradients(tape.backward(&loss).unwrap()))
}

/// The output of `layer` for `images`.
fn output(graph: &Graph, layer: &str, images: &Tensor) -> Vec<f64> {
    let mut tape = Tape::no_grad(&Device::cpu());
    let id = graph.id(layer).unwrap();
    let pass = graph.forward(&mut tape, Mode::Eval, images.clone(), &[id]).unwrap();
    pass.taps[0].value().data().iter().map(|&x| f64::from(x)).collect()
}

fn log_softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::MIN, f64::max);
    let total: f64 = row.iter().map(|x| ((x - max) / temperature).exp()).sum();
    row.iter().map(|x| (x - max) / temperature - total.ln()).collect()
}

fn mse(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64
}

/// The loss of the logits by its definition, in f64.
fn definition(config: &DistillConfig, student: &[f64], teacher: &[f64], labels: &[u32]) -> f64 {
    let (k, n, t) = (student.len() / labels.len(), labels.len() as f64, f64::from(config.temperature));
    let rows = || student.chunks(k).zip(teacher.chunks(k));
    let task = -rows().zip(labels).map(|((s, _), &y)| log_softmax(s, 1.0)[y as usize]).sum::<f64>() / n;
    let lesson = match config.loss {
        DistillLoss::Logits => mse(student, teacher),
        _ => {
            let divergence = |(s, p): (&[f64], &[f64])| {
                let (q, p) = (log_softmax(s, t), log_softmax(p, t));
                p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
            };
            t * t * rows().map(divergence).sum::<f64>() / n
        }
    };
    let weight = f64::from(config.weight);
    (1.0 - weight) * task + weight * lesson
}

#[test]
fn loss_and_gradient_agree_with_the_definition() {
    // The teacher's batch norms behave differently in eval and training mode.
    let (student, teacher) = (plain_net(5, 3, 1), small_net(3));
    let batch = Toy::new(1, 3).batch(0);
    let (ours, theirs) = (output(&student, "fc", &batch.images), output(&teacher, "fc2", &batch.images));
    for loss in [DistillLoss::SoftTargets, DistillLoss::Logits] {
        for (weight, temperature) in [(0.3, 1.0), (0.5, 4.0), (0.7, 20.0), (1.0, 2.0)] {
            let config = DistillConfig { weight, loss, temperature, ..DistillConfig::default() };
            let mut objective =
                Distillation::new(config.clone(), TASK, &student, teacher.clone(), IMAGE).unwrap();
            let (value, gradients) = step(&mut objective, &student, &batch);
            let expected = definition(&config, &ours, &theirs, &batch.labels);
            assert!((value - expected).abs() < 1e-5 * (1.0 + expected), "{config:?}: {value}, {expected}");

            // The bias of the last layer moves a logit of every image: central differences of the definition.
            for (class, &gradient) in gradients["fc.bias"].data().iter().enumerate() {
                let moved = |by: f64| {
                    let logits: Vec<f64> = ours
                        .iter()
                        .enumerate()
                        .map(|(i, x)| x + if i % 3 == class { by } else { 0.0 })
                        .collect();
                    definition(&config, &logits, &theirs, &batch.labels)
                };
                let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
                assert!(
                    (f64::from(gradient) - slope).abs() < 1e-5 * (1.0 + slope.abs()),
                    "{gradient}, {slope}"
                );
            }
        }
    }
}

#[test]
fn hints_add_the_difference_of_tapped_outputs() {
    let (student, teacher) = (plain_net(5, 3, 1), plain_net(5, 3, 20));
    let batch = Toy::new(1, 3).batch(0);
    let without = DistillConfig { weight: 0.5, ..DistillConfig::default() };
    let with = DistillConfig { hints: vec![hint("hidden", "hidden")], ..without.clone() };
    let value = |config| {
        let mut objective = Distillation::new(config, TASK, &student, teacher.clone(), IMAGE).unwrap();
        step(&mut objective, &student, &batch).0
    };
    let tapped = |graph| output(graph, "hidden", &batch.images);
    let expected = 0.5 * 0.25 * mse(&tapped(&student), &tapped(&teacher));
    let found = value(with) - value(without);
    assert!((found - expected).abs() < 1e-4 * expected, "{found}, {expected}");
}

#[test]
fn a_student_that_equals_its_teacher_has_nothing_to_learn() {
    let student = plain_net(5, 3, 1);
    for loss in [DistillLoss::SoftTargets, DistillLoss::Logits] {
        let config = DistillConfig {
            weight: 1.0,
            loss,
            hints: vec![hint("hidden", "hidden")],
            ..DistillConfig::default()
        };
        let mut objective = Distillation::new(config, TASK, &student, student.clone(), IMAGE).unwrap();
        let (value, gradients) = step(&mut objective, &student, &Toy::new(1, 3).batch(0));
        assert!(value.abs() < 1e-5, "{value}");
        assert!(gradients.values().flat_map(|g| g.data()).all(|d| d.abs() < 1e-5));
    }
}

#[test]
fn weight_zero_is_plain_training_bit_for_bit() {
    let (mut plain, mut distilled) = (small_net(3), small_net(3));
    let config =
        DistillConfig { weight: 0.0, hints: vec![hint("fc1", "hidden")], ..DistillConfig::default() };
    let mut objective = Distillation::new(config, TASK, &distilled, plain_net(10, 3, 5), IMAGE).unwrap();
    let a = train(&mut plain, &mut Optimizer::new(ADAM), 3, &mut CrossEntropy::default(), vec![]).unwrap();
    let b = train(&mut distilled, &mut Optimizer::new(ADAM), 3, &mut objective, vec![]).unwrap();
    assert!(same_bits(&plain, &distilled));
    assert!(a.iter().zip(&b).all(|(a, b)| a.train_loss.to_bits() == b.train_loss.to_bits()));
}

#[test]
fn the_teacher_is_untouched_and_validation_measures_the_task_alone() {
    let (mut student, teacher) = (small_net(3), small_net(3));
    let start = student.clone();
    let config = DistillConfig { weight: 0.7, hints: vec![hint("fc1", "fc1")], ..DistillConfig::default() };
    let mut objective = Distillation::new(config, TASK, &student, teacher.clone(), IMAGE).unwrap();
    let history = train(&mut student, &mut Optimizer::new(ADAM), 2, &mut objective, vec![]).unwrap();
    assert!(same_bits(objective.teacher().unwrap(), &teacher), "batch statistics included");
    assert!(!same_bits(&student, &start), "the student did learn");
    let task = evaluate(&student, &mut Toy::new(1, 3), &Device::cpu()).unwrap().loss;
    assert_eq!(history[1].val_loss, Some(task));
}

#[test]
fn networks_that_do_not_match_are_refused() {
    let refused = |student: &Graph, teacher: Graph, hints: Vec<Hint>| {
        let config = DistillConfig { hints, ..DistillConfig::default() };
        Distillation::new(config, TASK, student, teacher, IMAGE).unwrap_err().to_string()
    };
    let student = plain_net(5, 3, 1);
    let error = refused(&student, plain_net(5, 4, 1), vec![]);
    assert!(error.contains("[1, 4]") && error.contains("[1, 3]") && error.contains("classes"), "{error}");
    let equal = Hint { adapter: Some(false), ..hint("hidden", "hidden") };
    let error = refused(&student, plain_net(6, 3, 1), vec![equal]);
    assert!(error.contains("[1, 5]") && error.contains("[1, 6]"), "{error}");
    let error = refused(&student, plain_net(6, 3, 1), vec![hint("hidden", "layer9")]);
    assert!(error.contains("`layer9`"), "{error}");
    let mut gray = Graph::new(1);
    gray.push("relu", Layer::Activation(Activation::Relu), &[0]).unwrap();
    let error = refused(&student, gray, vec![]);
    assert!(error.contains("teacher") && error.contains("channels"), "{error}");
}

#[test]
fn options_read_as_recipes_write_them() {
    let read = |text: &str| toml::from_str::<DistillConfig>(text);
    let config = read(
        r#"
        weight = 0.7
        loss = "logits"
        temperature = 20.0
        hints = [{ student = "layer1", teacher = "layer2" }]
        "#,
    )
    .unwrap();
    let expected = DistillConfig {
        weight: 0.7,
        loss: DistillLoss::Logits,
        temperature: 20.0,
        hints: vec![Hint::new("layer1", "layer2")],
        ..DistillConfig::default()
    };
    assert_eq!(config, expected);
    assert_eq!(read("").unwrap(), DistillConfig::default());
    assert!(read("temprature = 2.0").unwrap_err().to_string().contains("temprature"));

    let refused = |config: DistillConfig| match config.check() {
        Err(Error::Invalid(message)) => message,
        other => panic!("{config:?}: {other:?}"),
    };
    for weight in [-0.1, 1.1, f32::NAN] {
        let error = refused(DistillConfig { weight, ..DistillConfig::default() });
        assert!(error.contains("distillation weight"), "{error}");
    }
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let error = refused(DistillConfig { temperature, ..DistillConfig::default() });
        assert!(error.contains("distillation temperature"), "{error}");
    }
    let negative = Hint { weight: -1.0, ..hint("a", "b") };
    assert!(
        refused(DistillConfig { hints: vec![negative], ..DistillConfig::default() }).contains("hint a ← b")
    );
}

/// The teacher's logits on the student's images are those on the same pixels, normalized its own way. The padding of its
/// convolutions is zero in its own normalization.
#[test]
fn a_teacher_with_another_normalization_sees_its_own_images() {
    let (mut student, mut teacher) = (plain_net(5, 3, 1), small_net(3));
    (student.info.mean, student.info.std) = (vec![0.5, 0.25], vec![0.25, 0.125]);
    (teacher.info.mean, teacher.info.std) = (vec![0.375, 0.5], vec![0.5, 1.0]);
    let batch = Toy::new(1, 3).batch(0);
    let own = Tensor::from_fn(batch.images.shape(), |i| {
        let (x, c) = (batch.images.data()[i], i % 2);
        let pixel = x * student.info.std[c] + student.info.mean[c];
        (pixel - teacher.info.mean[c]) / teacher.info.std[c]
    });
    let expected = output(&teacher, "fc2", &own);
    let new = |student: &Graph, teacher: &Graph, hints: Vec<Hint>| {
        let config =
            DistillConfig { weight: 1.0, loss: DistillLoss::Logits, hints, ..DistillConfig::default() };
        Distillation::new(config, TASK, student, teacher.clone(), IMAGE).unwrap()
    };
    let objective = new(&student, &teacher, Vec::new());
    let found = output(objective.teacher().unwrap(), "fc2", &batch.images);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{found}, {expected}");
    }
    assert!(
        mse(&expected, &output(&teacher, "fc2", &batch.images)) > 1e-4,
        "normalization matters to this network"
    );

    // The loss is that of these logits, and a hint still names the same layer.
    let ours = output(&student, "fc", &batch.images);
    let (value, _) = step(&mut new(&student, &teacher, Vec::new()), &student, &batch);
    assert!((value - mse(&ours, &expected)).abs() < 1e-4 * (1.0 + value), "{value}");
    let (value, _) = step(&mut new(&student, &teacher, vec![hint("fc", "fc2")]), &student, &batch);
    assert!((value - 1.25 * mse(&ours, &expected)).abs() < 1e-4 * (1.0 + value), "{value}");

    // Nothing is added if the normalizations agree, or if one is unknown.
    let layers = teacher.nodes().len();
    for (mean, std) in [(student.info.mean.clone(), student.info.std.clone()), (Vec::new(), Vec::new())] {
        (teacher.info.mean, teacher.info.std) = (mean, std);
        assert_eq!(new(&student, &teacher, Vec::new()).teacher().unwrap().nodes().len(), layers);
    }
}
