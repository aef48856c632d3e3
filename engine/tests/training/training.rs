//! The training loop, on a task that a small network learns in seconds.

use crate::support::colors::*;
use lopper_engine::layer::BatchNorm;
use lopper_engine::train::{Accuracy, Callback, EpochMetrics, Flow, Step, evaluate, freeze, unfreeze};
use lopper_engine::{Device, Error, Graph, Layer, Mode, Result, Tape, Tensor};

#[test]
fn a_network_learns() {
    let device = Device::cpu();
    for config in [SGD, ADAM] {
        let mut graph = network();
        let before = evaluate(&graph, &mut Colors::new(5), &device).unwrap();
        let history = train(&mut graph, &mut Colors::new(6), 4, config, &device, vec![]).unwrap();
        let [first, .., last] = history.as_slice() else { panic!("four epochs") };
        assert!(last.train_loss < 0.5 * first.train_loss, "{history:?}");
        assert!(last.val.unwrap().top1() > 0.95 && before.accuracy.top1() < 0.7, "{before:?} {last:?}");
        assert!(last.val_loss.unwrap() < before.loss);
        assert_eq!(last.val.unwrap().total, 60);
        let after = evaluate(&graph, &mut Colors::new(5), &device).unwrap();
        assert_eq!((Some(after.accuracy), Some(after.loss)), (last.val, last.val_loss));
    }
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let run = |threads, config| {
        let device = Device::open("cpu", Some(threads)).unwrap();
        let mut graph = network();
        let history = train(&mut graph, &mut Colors::new(6), 2, config, &device, vec![]).unwrap();
        (graph, history.into_iter().map(|e| (e.train_loss, e.val_loss)).collect::<Vec<_>>())
    };
    for config in [SGD, ADAM] {
        let ((one, losses), (two, same)) = (run(1, config), run(2, config));
        assert_same_bits(&one, &two);
        assert_eq!(losses, same);
    }
}

#[test]
fn masked_weights_stay_zero_while_momentum_pushes() {
    for config in [SGD, ADAM] {
        let mut graph = network();
        // Train first, so that the weights that are then masked have momentum.
        let mut mask_midway = MaskMidway;
        train(&mut graph, &mut Colors::new(6), 2, config, &Device::cpu(), vec![&mut mask_midway]).unwrap();
        let w = graph.param("conv2.weight").unwrap();
        assert_eq!(w.masked_fraction(), 0.5);
        for (i, (&w, &m)) in w.value().data().iter().zip(w.mask().unwrap().data()).enumerate() {
            assert_eq!(w == 0.0, m == 0.0, "weight {i} is {w} under mask {m}");
        }
    }
}

/// Masks half of `conv2.weight` halfway through training.
struct MaskMidway;

impl Callback for MaskMidway {
    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        if step.progress.step + 1 == step.progress.steps / 2 {
            let param = step.graph.param_mut("conv2.weight")?;
            let mask = Tensor::from_fn(param.value().shape(), |i| (i / 3 % 2) as f32);
            param.set_mask(Some(mask))?;
        }
        Ok(Flow::Continue)
    }
}

#[test]
fn a_non_finite_loss_ends_the_training_before_the_step() {
    let device = Device::cpu();
    let mut data = Colors { not_a_number: Some(2), ..Colors::new(6) };
    let mut graph = network();
    let error = train(&mut graph, &mut data, 3, SGD, &device, vec![]).unwrap_err();
    assert!(matches!(error, Error::Diverged { epoch: 1, step: 3, loss } if loss.is_nan()), "{error}");
    assert!(error.to_string().contains("epoch 1, step 3"));
    let finite = |t: &Tensor| t.data().iter().all(|x| x.is_finite());
    assert!(graph.params().all(|(_, p)| finite(p.value())) && graph.buffers().all(|(_, t)| finite(t)));
}

#[test]
fn the_first_data_error_ends_the_training() {
    let mut data = Colors { unreadable: Some(1), ..Colors::new(6) };
    let error = train(&mut network(), &mut data, 3, SGD, &Device::cpu(), vec![]).unwrap_err();
    assert_eq!(error.to_string(), "broken.jpg: is not an image");
    let none = train(&mut network(), &mut Colors::new(0), 3, SGD, &Device::cpu(), vec![]);
    assert!(none.unwrap_err().to_string().contains("the data set has no"));
    assert!(evaluate(&network(), &mut Colors::new(0), &Device::cpu()).is_err());
}

#[test]
fn frozen_layers_stay_and_batch_norms_adapt() {
    let (start, mut graph) = (network(), network());
    let fc = graph.id("fc").unwrap();
    freeze(&mut graph, fc);
    train(&mut graph, &mut Colors::new(6), 1, SGD, &Device::cpu(), vec![]).unwrap();
    for (path, param) in graph.params() {
        let moved = !param.value().same_bits(start.param(&path).unwrap().value());
        assert_eq!(moved, !path.starts_with("conv"), "{path}");
    }
    assert!(graph.buffers().zip(start.buffers()).all(|((_, a), (_, b))| !a.same_bits(b)));
    unfreeze(&mut graph);
    assert!(graph.params().all(|(_, p)| p.trainable));
}

/// Records which callbacks are called, and when.
#[derive(Default)]
struct Journal(Vec<String>);

impl Callback for Journal {
    fn on_begin(&mut self, _: &mut Graph) -> Result<()> {
        self.0.push("begin".into());
        Ok(())
    }
    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        assert!(step.loss.is_finite() && step.gradients.contains_key("fc.bias"));
        self.0.push(format!("before {} at {}", step.progress.step, step.progress.fraction()));
        // The optimizer sees the gradients as callbacks leave them.
        step.gradients.remove("fc.bias");
        Ok(())
    }
    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        self.0.push(format!("after {}", step.progress.step));
        Ok(Flow::Continue)
    }
    fn on_epoch_end(&mut self, _: &mut Graph, epoch: &EpochMetrics) -> Result<Flow> {
        self.0.push(format!("epoch {} of {}", epoch.epoch, epoch.epochs));
        Ok(Flow::Continue)
    }
    fn on_end(&mut self, _: &mut Graph) -> Result<()> {
        self.0.push("end".into());
        Ok(())
    }
}

#[test]
fn callbacks_are_called_in_order() {
    let (mut graph, mut journal) = (network(), Journal::default());
    train(&mut graph, &mut Colors::new(1), 2, SGD, &Device::cpu(), vec![&mut journal]).unwrap();
    let expected = "begin, before 0 at 0, after 0, epoch 0 of 2, before 1 at 0.5, after 1, epoch 1 of 2, end";
    assert_eq!(journal.0.join(", "), expected);
    assert_eq!(graph.param("fc.bias").unwrap().value().data(), [0.0; 3], "its gradient was removed");
}

#[test]
fn running_statistics_move_by_momentum_and_the_unbiased_variance() {
    let mut graph = Graph::new(2);
    graph.push("bn", Layer::BatchNorm(BatchNorm::new(2)), &[0]).unwrap();
    let images = Tensor::from_vec(&[3, 1, 1, 2], vec![1.0, 2.0, 3.0, 2.0, 5.0, 8.0]).unwrap();
    let mut tape = Tape::new(&Device::cpu());
    let pass = graph.forward(&mut tape, Mode::Train, images, &[]).unwrap();
    graph.commit(&pass).unwrap();
    // Means 3 and 4, unbiased variances 4 and 12, from mean 0 and variance 1 with momentum 0.1.
    for (path, expected) in [("bn.running_mean", [0.3, 0.4]), ("bn.running_var", [1.3, 2.1])] {
        let (_, found) = graph.buffers().find(|(p, _)| p == path).unwrap();
        for (found, expected) in found.data().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{path}: {found}, not {expected}");
        }
    }
    assert!(network().commit(&pass).is_err(), "another network's statistics");
    let mut wider = Graph::new(3);
    wider.push("bn", Layer::BatchNorm(BatchNorm::new(3)), &[0]).unwrap();
    assert!(wider.commit(&pass).is_err(), "statistics of fewer channels");
}

#[test]
fn accuracy_adds_up() {
    let mut sum = Accuracy { correct: 1, total: 2 };
    sum += Accuracy { correct: 3, total: 4 };
    assert_eq!((sum, sum.top1()), (Accuracy { correct: 4, total: 6 }, 4.0 / 6.0));
}
