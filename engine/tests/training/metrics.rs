//! Metrics against scikit-learn's values, and test-time augmentation.

use crate::support::colors::{Colors, network};
use lopper_engine::data::{Batch, Batches};
use lopper_engine::train::metrics::{Outcome, Scores, Views, score};
use lopper_engine::train::{Logits, evaluate};
use lopper_engine::{Device, Result, Tensor};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    classes: usize,
    labels: Vec<u32>,
    logits: Vec<f32>,
    accuracy: f64,
    wilson: [f64; 2],
    log_loss: f64,
    top5: Option<f64>,
    macro_precision: f64,
    macro_recall: f64,
    macro_f1: f64,
    weighted_f1: f64,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<u64>,
    occurring: Vec<usize>,
    confusion: Vec<u64>,
    calibration_error: f64,
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/sklearn/metrics.json");
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str::<Cases>(&text).unwrap().cases
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found}, not {expected}");
}

#[test]
fn metrics_equal_those_of_scikit_learn() {
    let cases = cases();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let rows = case.logits.chunks_exact(case.classes).zip(&case.labels);
        let outcomes = rows.map(|(row, &label)| Outcome::of_logits(row, label)).collect();
        let scores = Scores::new(case.classes, outcomes);
        close(scores.top(1).top1(), case.accuracy);
        let (low, high) = scores.top(1).wilson95();
        close(low, case.wilson[0]);
        close(high, case.wilson[1]);
        close(scores.loss(), case.log_loss);
        if let Some(top5) = case.top5 {
            close(scores.top(5).top1(), top5);
        }
        close(scores.calibration(15).error(), case.calibration_error);
        let confusion = scores.confusion();
        let counts: Vec<u64> = (0..case.classes * case.classes)
            .map(|i| confusion.count(i / case.classes, i % case.classes))
            .collect();
        assert_eq!(counts, case.confusion);
        close(confusion.macro_precision().unwrap().value, case.macro_precision);
        close(confusion.macro_recall().unwrap().value, case.macro_recall);
        close(confusion.macro_f1().unwrap().value, case.macro_f1);
        close(confusion.weighted_f1().unwrap().value, case.weighted_f1);
        for (class, found) in confusion.by_class().iter().enumerate() {
            assert_eq!(found.support, case.support[class]);
            assert_eq!(found.f1().is_some(), case.occurring.contains(&class));
            // Undefined scores are 0 in scikit-learn.
            close(found.precision().map_or(0.0, |p| p.value), case.precision[class]);
            close(found.recall().map_or(0.0, |r| r.value), case.recall[class]);
            close(found.f1().map_or(0.0, |f| f.value), case.f1[class]);
        }
    }
}

#[test]
fn scores_agree_with_the_evaluation() {
    let (graph, device) = (network(), Device::cpu());
    let scores = score(&graph, &mut Colors::new(3), &device).unwrap();
    let evaluation = evaluate(&graph, &mut Colors::new(3), &device).unwrap();
    assert_eq!((scores.top(1), scores.loss()), (evaluation.accuracy, evaluation.loss));
    assert_eq!(scores.confusion().images() as usize, evaluation.accuracy.total);
}

/// Logits that are the pixels of images `[N, 1, 1, 3]`.
struct Pixels;

impl Logits for Pixels {
    fn logits(&mut self, images: Tensor, _: &Device) -> Result<Tensor> {
        Tensor::from_slice(&[images.dim(0), 3], images.data())
    }
}

/// Two batches of two images. Each epoch adds its number to the first logit of every image.
struct Shifted {
    labels: [u32; 4],
    classes: Vec<String>,
}

impl Batches for Shifted {
    fn len(&self) -> usize {
        2
    }
    fn samples(&self) -> usize {
        4
    }
    fn image_shape(&self) -> [usize; 3] {
        [1, 1, 3]
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn epoch(&mut self, epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let labels = self.labels;
        Ok(Box::new((0..2).map(move |batch| {
            let pixel =
                |i: usize| (i + batch) as f32 / 4.0 + if i.is_multiple_of(3) { epoch as f32 } else { 0.0 };
            let images = Tensor::from_fn(&[2, 1, 1, 3], pixel);
            Ok(Batch::new(images, labels[2 * batch..][..2].to_vec()))
        })))
    }
}

#[test]
fn views_average_probabilities() {
    let device = Device::cpu();
    let data = || Shifted { labels: [0, 1, 2, 0], classes: Vec::new() };
    let plain = score(Pixels, &mut data(), &device).unwrap();
    let mut views = Views::plain(&mut Pixels, &mut data(), &device).unwrap();
    for (a, b) in views.scores(0.3).outcomes().iter().zip(plain.outcomes()) {
        assert_eq!((a.predicted, a.rank), (b.predicted, b.rank));
        assert!((a.loss - b.loss).abs() < 1e-6);
    }
    views.add(&mut Pixels, &mut data(), &device).unwrap();
    views.add(&mut Pixels, &mut data(), &device).unwrap();
    assert_eq!(views.count(), 2);
    let softmax = |logits: [f64; 3]| {
        let sum: f64 = logits.iter().map(|x| x.exp()).sum();
        logits.map(|x| x.exp() / sum)
    };
    let beta = 0.25;
    for (i, outcome) in views.scores(beta).outcomes().iter().enumerate() {
        let logits = |epoch: f64| -> [f64; 3] {
            let first = i % 2 * 3 + i / 2;
            [first as f64 / 4.0 + epoch, (first + 1) as f64 / 4.0, (first + 2) as f64 / 4.0]
        };
        let label = data().labels[i] as usize;
        // The plain view is epoch 0, and the first augmented one is epoch 0 of its own source.
        let augmented = (softmax(logits(0.0))[label] + softmax(logits(1.0))[label]) / 2.0;
        let expected = beta * softmax(logits(0.0))[label] + (1.0 - beta) * augmented;
        assert!((outcome.loss + expected.ln()).abs() < 1e-6, "{i}: {outcome:?}, {expected}");
    }
    let mut others = Shifted { labels: [0, 1, 2, 1], classes: Vec::new() };
    let error = views.add(&mut Pixels, &mut others, &device).unwrap_err().to_string();
    assert!(error.contains("the images of a view are others"), "{error}");
}

#[test]
fn a_label_beyond_the_classes_is_an_error() {
    let mut data = Shifted { labels: [0, 1, 3, 0], classes: Vec::new() };
    let error = score(Pixels, &mut data, &Device::cpu()).unwrap_err().to_string();
    assert!(error.contains("label 3 is out of range for 3 classes"), "{error}");
}
