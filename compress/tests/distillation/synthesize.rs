//! Images from a network: the terms of their loss, and what becomes of noise.

use crate::support::*;
use lopper_compress::synthesize::*;
use lopper_engine::layer::{Activation, BatchNorm};
use lopper_engine::train::{CrossEntropy, Optimizer, OptimizerConfig};
use lopper_engine::{Device, Error, Graph, Layer, Tape, Tensor};

/// The slopes of `formula` at `at`, by central differences.
fn slopes(at: &[f64], formula: &dyn Fn(&[f64]) -> f64) -> Vec<f64> {
    let moved = |i: usize, by: f64| {
        let mut at = at.to_vec();
        at[i] += by;
        formula(&at)
    };
    (0..at.len()).map(|i| (moved(i, 1e-6) - moved(i, -1e-6)) / 2e-6).collect()
}

fn doubles(tensor: &Tensor) -> Vec<f64> {
    tensor.data().iter().map(|&x| f64::from(x)).collect()
}

fn agree(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < tolerance, "{found}, {expected}");
    }
}

#[test]
fn priors_are_those_of_the_authors() {
    let (n, h, w, c) = (2, 3, 4, 2);
    let images = noise(&[n, h, w, c], 1);
    let at = doubles(&images);
    let variation = |x: &[f64]| -> f64 {
        let pixel = |i: usize, y: usize, x_: usize, k: usize| x[((i * h + y) * w + x_) * c + k];
        // Pairs of a window that slides over each image, as slices of the authors' tensors select them.
        let direction = |from: [usize; 2], to: [usize; 2], down: usize, right: usize| -> f64 {
            let mut sum: f64 = 0.0;
            for i in 0..n {
                for y in 0..h - down {
                    for x_ in 0..w - right {
                        for k in 0..c {
                            let a = pixel(i, y + from[0], x_ + from[1], k);
                            sum += (a - pixel(i, y + to[0], x_ + to[1], k)).powi(2);
                        }
                    }
                }
            }
            sum.sqrt()
        };
        direction([0, 0], [0, 1], 0, 1)
            + direction([0, 0], [1, 0], 1, 0)
            + direction([1, 0], [0, 1], 1, 1)
            + direction([0, 0], [1, 1], 1, 1)
    };
    let found = total_variation(images.data(), [n, h, w, c]);
    agree(&[found.value], &[variation(&at)], 1e-12);
    agree(&found.gradient, &slopes(&at, &variation), 1e-7);
    let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let found = norm(images.data());
    agree(&[found.value], &[length(&at)], 1e-12);
    agree(&found.gradient, &slopes(&at, &length), 1e-7);
    let gray = vec![0.0; n * h * w * c];
    let (flat, none) = (total_variation(&gray, [n, h, w, c]), norm(&gray));
    assert_eq!((flat.value, none.value), (0.0, 0.0));
    assert!(flat.gradient.iter().chain(&none.gradient).all(|&g| g == 0.0));
}

/// The distance and its gradient by the formula in f64, over more rows than a thread takes at a time.
#[test]
fn the_distance_of_statistics_is_that_of_its_paper() {
    let (rows, c) = (9000, 3);
    let x = noise(&[rows / 9, 3, 3, c], 2);
    let norm = BatchNorm {
        running_mean: Tensor::from_slice(&[c], &[0.3, -0.2, 0.0]).unwrap(),
        running_var: Tensor::from_slice(&[c], &[0.5, 0.1, 2.0]).unwrap(),
        ..BatchNorm::new(c)
    };
    let of_channels = |f: &dyn Fn(usize) -> f64| (0..c).map(f).collect::<Vec<_>>();
    let formula = |x: &[f64]| -> f64 {
        let mean = of_channels(&|k| x.iter().skip(k).step_by(c).sum::<f64>() / rows as f64);
        let variance = of_channels(&|k| {
            x.iter().skip(k).step_by(c).map(|x| (x - mean[k]).powi(2)).sum::<f64>() / rows as f64
        });
        let away = |found: &[f64], running: &Tensor| -> f64 {
            found.iter().zip(doubles(running)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        };
        away(&mean, &norm.running_mean) + away(&variance, &norm.running_var)
    };
    let run = |threads: usize| {
        let mut tape = Tape::new(&Device::open("cpu", Some(threads)).unwrap());
        let leaf = tape.leaf(x.clone());
        let distance = distance_of_statistics(&mut tape, &leaf, &norm).unwrap();
        let (value, loss) =
            (f64::from(distance.value().item().unwrap()), tape.scale(&distance, 9000.0).unwrap());
        (value, tape.backward(&loss).unwrap().take(&leaf).unwrap())
    };
    let (value, gradient) = run(1);
    let at = doubles(&x);
    agree(&[value], &[formula(&at)], 1e-6);
    // A few values of each channel, near both ends and where parts meet.
    for i in (0..6).chain(4096 * c - 3..4096 * c + 3).chain(rows * c - 3..rows * c) {
        let moved = |by: f64| {
            let mut at = at.clone();
            at[i] += by;
            9000.0 * formula(&at)
        };
        let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
        assert!((f64::from(gradient.data()[i]) - slope).abs() < 1e-4, "{i}: {}, {slope}", gradient.data()[i]);
    }
    let (again, other) = run(3);
    assert!(again == value && other.same_bits(&gradient));
    let mut tape = Tape::new(&Device::cpu());
    let flat = tape.leaf(Tensor::zeros(&[4, 2]));
    let error = distance_of_statistics(&mut tape, &flat, &norm).unwrap_err().to_string();
    assert!(error.contains("expected [.., 3], found [4, 2]"), "{error}");
}

/// A network that has learned [`Toy`] images, whose pixels are between −1 and 3 there: as if black were −1 and white 3.
fn teacher() -> Graph {
    let mut graph = small_net(3);
    let adam = OptimizerConfig::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };
    train(&mut graph, &mut Optimizer::new(adam), 20, &mut CrossEntropy::default(), Vec::new()).unwrap();
    graph.info.input = [4, 4, 2];
    (graph.info.mean, graph.info.std) = (vec![0.25; 2], vec![0.25; 2]);
    graph
}

const LABELS: [u32; 9] = [0, 1, 2, 0, 1, 2, 0, 1, 2];

fn synthesize(teacher: &Graph, config: SynthesisConfig, threads: usize) -> (Synthesis, Vec<Terms>) {
    let device = Device::open("cpu", Some(threads)).unwrap();
    let synthesizer = Synthesizer::new(config, teacher, &device).unwrap();
    let mut seen = Vec::new();
    let mut watch = |step: usize, terms: &Terms| {
        assert_eq!(step, seen.len());
        seen.push(*terms);
        Ok(())
    };
    let made = synthesizer.images(&LABELS, &noise(&[9, 4, 4, 2], 5), 7, &mut watch).unwrap();
    (made, seen)
}

#[test]
fn noise_becomes_images_of_the_classes_with_the_statistics_of_the_training() {
    // The logits of this small network depend on so few numbers that its statistics would outweigh its classes.
    let base = SynthesisConfig::default();
    let (teacher, config) = (teacher(), SynthesisConfig { steps: 200, jitter: 1, statistics: 0.1, ..base });
    let (made, seen) = synthesize(&teacher, config.clone(), 1);
    let (first, last) = (seen[0], made.terms);
    assert_eq!(seen.len(), 200);
    assert!(last.statistics < 0.5 * first.statistics, "{first:?} → {last:?}");
    assert!(last.task < 0.5 * first.task, "{first:?} → {last:?}");
    let logits = teacher.logits(&Device::cpu(), made.images.clone()).unwrap();
    for (row, label) in logits.data().chunks(3).zip(LABELS) {
        let best = (0..3).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        assert_eq!(best, label as usize, "{row:?}");
    }
    assert!(made.images.data().iter().all(|x| (-1.0..=3.0).contains(x)), "colors");
    // What images of the data share, the synthesized ones have too: the first channel is brighter the higher the class.
    let brightness = |label: usize| -> f32 {
        let images = made.images.data().chunks(32).skip(label).step_by(3);
        images.flat_map(|image| image.iter().step_by(2)).sum()
    };
    assert!(brightness(0) < brightness(1) && brightness(1) < brightness(2));
    let (again, _) = synthesize(&teacher, config, 3);
    assert!(again.images.same_bits(&made.images), "the same bits for any number of threads");
}

#[test]
fn the_teacher_stays_as_it_was_and_an_error_ends_the_work() {
    let teacher = teacher();
    let before = teacher.clone();
    let config = SynthesisConfig { steps: 3, ..SynthesisConfig::default() };
    synthesize(&teacher, config.clone(), 2);
    assert!(same_bits(&teacher, &before));
    let device = Device::cpu();
    let synthesizer = Synthesizer::new(config, &teacher, &device).unwrap();
    let mut stop = |step: usize, _: &Terms| if step == 1 { Err(Error::Stopped) } else { Ok(()) };
    let noise = noise(&[9, 4, 4, 2], 5);
    assert!(matches!(synthesizer.images(&LABELS, &noise, 7, &mut stop), Err(Error::Stopped)));
    let error = synthesizer.images(&LABELS[..3], &noise, 7, &mut |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.contains("expected noise [3, 4, 4, 2], found [9, 4, 4, 2]"), "{error}");
}

#[test]
fn what_cannot_be_synthesized_is_refused() {
    let (teacher, device) = (teacher(), Device::cpu());
    let refused = |config: SynthesisConfig, change: &dyn Fn(&mut Graph)| {
        let mut teacher = teacher.clone();
        change(&mut teacher);
        Synthesizer::new(config, &teacher, &device).unwrap_err().to_string()
    };
    let base = SynthesisConfig::default;
    let nothing = |_: &mut Graph| {};
    for (error, words) in [
        (refused(base(), &|g| g.info.std.clear()), "states the mean and the deviation"),
        (refused(base(), &|g| *g = without_norms(g)), "with batch norms"),
        (refused(SynthesisConfig { steps: 0, ..base() }, &nothing), "steps: expected 1 to 1000000, found 0"),
        (
            refused(SynthesisConfig { learning_rate: 0.0, ..base() }, &nothing),
            "learning_rate: expected above 0",
        ),
        (refused(SynthesisConfig { l2: -1.0, ..base() }, &nothing), "l2: expected at least 0"),
        (refused(SynthesisConfig { jitter: 1 << 20, ..base() }, &nothing), "jitter: expected 0 to"),
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
}

/// A network without batch norms for the same images.
fn without_norms(graph: &Graph) -> Graph {
    let mut bare = Chain::new(2)
        .then("relu", Layer::Activation(Activation::Relu))
        .then("flatten", Layer::Flatten)
        .then("fc", linear(3, 32, 1))
        .graph;
    bare.info = graph.info.clone();
    bare
}
