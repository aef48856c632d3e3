//! Cross entropy with weights of classes, against its definition in double precision.

use crate::support::colors::noise;
use lopper_engine::data::{Batch, Mixed};
use lopper_engine::layer::Linear;
use lopper_engine::train::{CrossEntropy, Objective, WeightedCrossEntropy, gradients};
use lopper_engine::{Device, Graph, Layer, Param, Tape, Tensor};

const CLASSES: usize = 4;
const ROWS: usize = 6;
const LABELS: [u32; ROWS] = [0, 3, 1, 1, 0, 2];

/// A network whose logits are its bias plus the pixels, so that the gradient of the bias is the sum over rows.
fn network(device: &Device, objective: &mut dyn Objective, labels: &[u32]) -> (f32, Vec<f32>) {
    mixed_network(device, objective, labels, None)
}

/// The same for images that are mixed with others.
fn mixed_network(
    device: &Device,
    objective: &mut dyn Objective,
    labels: &[u32],
    mixed: Option<Mixed>,
) -> (f32, Vec<f32>) {
    let mut graph = Graph::new(CLASSES);
    let flat = graph.push("flatten", Layer::Flatten, &[0]).unwrap();
    let one = |i: usize| f32::from(i.is_multiple_of(CLASSES + 1));
    let weight = Param::new(Tensor::from_fn(&[CLASSES, CLASSES], one));
    let bias = Some(Param::new(Tensor::zeros(&[CLASSES])));
    graph.push("fc", Layer::Linear(Linear { weight, bias }), &[flat]).unwrap();
    let images = Tensor::from_fn(&[labels.len(), 1, 1, CLASSES], |i| logit(i) as f32);
    let batch = Batch { mixed, ..Batch::new(images, labels.to_vec()) };
    let (loss, gradients) = gradients(&mut graph, objective, &batch, Tape::new(device)).unwrap();
    (loss, gradients["fc.bias"].data().to_vec())
}

fn logit(i: usize) -> f64 {
    f64::from(2.0 * noise(i, 3))
}

/// PyTorch's definition in double precision, with `bias` added to every row.
fn expected(weights: &[f64], smoothing: f64, bias: &[f64]) -> f64 {
    let (mut hits, mut smooth, mut total) = (0.0, 0.0, 0.0);
    for (row, &label) in LABELS.iter().enumerate() {
        let logits: Vec<f64> = (0..CLASSES).map(|k| logit(row * CLASSES + k) + bias[k]).collect();
        let log_sum = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
        let loss = |k: usize| weights[k] * (log_sum - logits[k]);
        hits += loss(label as usize);
        smooth += (0..CLASSES).map(loss).sum::<f64>();
        total += weights[label as usize];
    }
    ((1.0 - smoothing) * hits + smoothing / CLASSES as f64 * smooth) / total
}

fn single(weights: &[f64]) -> Vec<f32> {
    weights.iter().map(|&w| w as f32).collect()
}

#[test]
fn loss_and_gradient_follow_the_definition() {
    for (weights, smoothing) in [([0.5, 2.0, 0.0, 1.25], 0.0), ([3.0, 0.25, 1.0, 0.5], 0.25)] {
        let mut objective = WeightedCrossEntropy::new(smoothing as f32, single(&weights)).unwrap();
        let (loss, gradient) = network(&Device::cpu(), &mut objective, &LABELS);
        let at = |bias: &[f64]| expected(&weights, smoothing, bias);
        assert!((f64::from(loss) - at(&[0.0; CLASSES])).abs() < 1e-6, "{loss}");
        for class in 0..CLASSES {
            let moved =
                |by: f64| at(&std::array::from_fn::<f64, CLASSES, _>(|k| if k == class { by } else { 0.0 }));
            let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
            assert!((f64::from(gradient[class]) - slope).abs() < 1e-5, "{class}: {gradient:?}, {slope}");
        }
    }
}

#[test]
fn equal_weights_change_nothing() {
    for smoothing in [0.0, 0.1] {
        let mut plain = CrossEntropy { smoothing };
        let mut weighted = WeightedCrossEntropy::new(smoothing, vec![2.5; CLASSES]).unwrap();
        let (a, da) = network(&Device::cpu(), &mut plain, &LABELS);
        let (b, db) = network(&Device::cpu(), &mut weighted, &LABELS);
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
        assert!(da.iter().zip(&db).all(|(a, b)| (a - b).abs() < 1e-6), "{da:?} and {db:?}");
    }
}

#[test]
fn mixed_images_have_the_weighted_loss_of_both_classes() {
    let mut weighted = WeightedCrossEntropy::new(0.1, vec![0.5, 2.0, 0.0, 1.25]).unwrap();
    let (others, share) = ([1, 1, 2, 0, 3, 2], 0.25);
    let (a, da) = network(&Device::cpu(), &mut weighted, &LABELS);
    let (b, db) = network(&Device::cpu(), &mut weighted, &others);
    let mixed = Some(Mixed { labels: others.to_vec(), share });
    let (both, gradient) = mixed_network(&Device::cpu(), &mut weighted, &LABELS, mixed);
    let mean = |a: f32, b: f32| (1.0 - share) * a + share * b;
    assert!((both - mean(a, b)).abs() < 1e-6 && (a - b).abs() > 1e-3, "{both} of {a} and {b}");
    for (found, (a, b)) in gradient.iter().zip(da.iter().zip(&db)) {
        assert!((found - mean(*a, *b)).abs() < 1e-6, "{found} of {a} and {b}");
    }
}

#[test]
fn cuda_agrees() {
    let Some(device) = crate::support::cuda_on_cpu() else { return };
    let new = || WeightedCrossEntropy::new(0.1, vec![0.5, 2.0, 0.0, 1.0]).unwrap();
    let (a, da) = network(&Device::cpu(), &mut new(), &LABELS);
    let (b, db) = network(&device, &mut new(), &LABELS);
    assert!((a - b).abs() < 1e-5, "{a} and {b}");
    assert!(da.iter().zip(&db).all(|(a, b)| (a - b).abs() < 1e-5), "{da:?} and {db:?}");
}

#[test]
fn invalid_weights_are_refused() {
    for (weights, words) in [
        (vec![1.0, -1.0], "class_weights: expected at least 0, found -1"),
        (vec![f32::NAN], "class_weights"),
        (vec![0.0; 3], "a weight above 0"),
        (vec![], "a weight above 0"),
    ] {
        let message = WeightedCrossEntropy::new(0.0, weights).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
    let mut few = WeightedCrossEntropy::new(0.0, vec![1.0; CLASSES]).unwrap();
    let (loss, _) = network(&Device::cpu(), &mut few, &[3; 2]);
    assert!(loss > 0.0);
    let mut none = WeightedCrossEntropy::new(0.0, vec![1.0, 1.0, 1.0, 0.0]).unwrap();
    let (loss, gradient) = network(&Device::cpu(), &mut none, &[3; 2]);
    assert_eq!((loss.abs(), gradient.iter().map(|g| g.abs()).sum::<f32>()), (0.0, 0.0));
}
