//! Top-KAST: a step by hand, exact densities, and what rests.

use crate::support::*;
use lopper_compress::sparse_training::*;
use lopper_engine::layer::{Layer, Linear};
use lopper_engine::train::{Callback, CrossEntropy, Flow, Optimizer, OptimizerConfig, Progress, Step};
use lopper_engine::{Graph, Param, ParamGradients, Result, Tensor};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SGD: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-2 };

fn config(sparsity: f64) -> SparseTrainConfig {
    let (method, densities) = (Method::TopKast, Densities::Uniform);
    SparseTrainConfig { method, densities, every: 1, end: 1.0, ..SparseTrainConfig::new(sparsity) }
}

/// A step number `step` of ten on `graph`, in which `fc.weight` has `gradient` and `update` stands for the optimizer.
fn step(
    trainer: &mut SparseTrainer,
    graph: &mut Graph,
    step: usize,
    gradient: &[f32],
    update: impl FnOnce(&mut Param, &[f32]),
) -> (Vec<f32>, Vec<f32>) {
    let mut gradients =
        ParamGradients::from([("fc.weight".into(), Tensor::from_slice(&[1, 8], gradient).unwrap())]);
    let progress = Progress { epoch: 0, epochs: 1, step, steps: 10 };
    let mut step = Step { graph, gradients: &mut gradients, progress, loss: 0.0, rates: 0.5.into() };
    trainer.before_step(&mut step).unwrap();
    let found = step.gradients["fc.weight"].data().to_vec();
    let param = step.graph.param_mut("fc.weight").unwrap();
    assert!(param.mask().is_none(), "the optimizer sees every weight");
    let theta = param.value().data().to_vec();
    update(param, &found);
    trainer.after_step(&mut step).unwrap();
    (theta, found)
}

fn weights(graph: &Graph) -> &[f32] {
    graph.param("fc.weight").unwrap().value().data()
}

#[test]
fn steps_agree_with_a_hand_example() {
    let start = [4.0, -3.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0];
    let weight = Param::new(Tensor::from_slice(&[1, 8], &start).unwrap());
    let mut graph = Graph::new(8);
    graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[0]).unwrap();
    // A is a quarter, B half of the weights; the density is 1/4, so λ/D = 2.
    let config = SparseTrainConfig {
        backward_sparsity: Some(0.5),
        exploration_penalty: Some(0.5),
        include: vec!["fc".into()],
        ..config(0.75)
    };
    let mut trainer = SparseTrainer::new(config).unwrap();
    trainer.on_begin(&mut graph).unwrap();
    assert_eq!(weights(&graph), [4.0, -3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert!(trainer.reads_masked_gradients());

    let gradient = [4.0, 0.0, -5.0, 0.0, 7.0, 7.0, 7.0, 7.0];
    let (theta, penalized) = step(&mut trainer, &mut graph, 0, &gradient, |param, gradient| {
        param.update(|w| {
            w.iter_mut().zip(gradient).for_each(|(w, g)| *w -= 0.5 * g);
            // As momentum or weight decay would move what rests.
            w[4] = 9.0;
        });
    });
    assert_eq!(theta, start);
    // 4 + λ·4, 0 − λ·3, −5 + 2·2, 0 + 2·1, and nothing outside B.
    assert_eq!(penalized, [6.0, -1.5, -1.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    // θ is 1, −2.25, 2.5, 0, 0.5, 0.25, 0.125, 0 now: the second and the third are the largest.
    assert_eq!(weights(&graph), [0.0, -2.25, 2.5, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let update = Update { step: 0, died: 1, grown: 1, sparsity: 0.75 };
    assert_eq!(trainer.updates(), [update]);

    let (theta, penalized) = step(&mut trainer, &mut graph, 1, &[0.0; 8], |_, _| {});
    assert_eq!(theta, [1.0, -2.25, 2.5, 0.0, 0.5, 0.25, 0.125, 0.0]);
    // B∖A is the first and the fifth.
    assert_eq!(penalized, [2.0, -1.125, 1.25, 0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(weights(&graph), [0.0, -2.25, 2.5, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

/// Sees what the trainer makes of each step. It stands behind the trainer in the list of callbacks.
struct Witness {
    sparsity: f64,
    backward: f64,
    /// θ of the step before, by path.
    theta: BTreeMap<String, Vec<f32>>,
    /// Whether each weight runs, by path.
    runs: BTreeMap<String, Vec<f32>>,
    entered: usize,
}

/// As many of `all` as a sparsity leaves, at least one.
fn share(sparsity: f64, all: usize) -> usize {
    (((1.0 - sparsity) * all as f64).round() as usize).max(1)
}

impl Callback for Witness {
    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        for (path, runs) in &self.runs {
            let param = step.graph.param(path)?;
            if param.mask().is_some() {
                continue;
            }
            let theta = param.value().data();
            let learns = share(self.backward, theta.len());
            let moving = step.gradients[path].data().iter().filter(|&&g| g != 0.0).count();
            assert!(moving <= learns, "{path}: {moving} of {learns} weights learn");
            let size = |run: f32| {
                let sizes = theta.iter().zip(runs).filter(move |(_, r)| **r == run);
                sizes.map(|(w, _)| w.abs())
            };
            // Masks were chosen behind the last step.
            let (least, most) = (size(1.0).fold(f32::INFINITY, f32::min), size(0.0).fold(0.0, f32::max));
            assert!(least >= most, "{path}: {least} runs, and {most} does not");
            if let Some(before) = self.theta.insert(path.clone(), theta.to_vec()) {
                let changed = before.iter().zip(theta).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
                assert!(changed <= learns, "{path}: {changed} weights moved of {learns} that learn");
            }
        }
        Ok(())
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        for (path, param) in step.graph.params() {
            let Some(mask) = param.mask() else { continue };
            let (w, runs) = (param.value().data(), mask.data());
            assert!(w.iter().zip(runs).all(|(w, &run)| run == 1.0 || w.to_bits() == 0), "{path}");
            let live = runs.iter().filter(|&&run| run == 1.0).count();
            assert_eq!(live, share(self.sparsity, w.len()), "{path}: the forward density is exact");
            if let Some(before) = self.runs.insert(path, runs.to_vec()) {
                self.entered += before.iter().zip(runs).filter(|(a, b)| **a < **b).count();
            }
        }
        Ok(Flow::Continue)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn densities_are_exact_and_only_b_learns(
        sparsity in 0.05..0.95f64,
        part in 0.0..1.0f64,
        penalty in 0.0..0.1f64,
    ) {
        let config = SparseTrainConfig {
            backward_sparsity: Some(sparsity * part),
            exploration_penalty: Some(penalty),
            ..config(sparsity)
        };
        let mut graph = small_net(3);
        let mut trainer = SparseTrainer::new(config).unwrap();
        let (theta, runs) = (BTreeMap::new(), BTreeMap::new());
        let mut witness = Witness { sparsity, backward: sparsity * part, theta, runs, entered: 0 };
        let callbacks: Vec<&mut dyn Callback> = vec![&mut trainer, &mut witness];
        train(&mut graph, &mut Optimizer::new(SGD), 3, &mut CrossEntropy::default(), callbacks).unwrap();
        let grown: usize = trainer.updates().iter().map(|update| update.grown).sum();
        // The witness does not see the masks before the first step.
        prop_assert!(witness.entered <= grown);
        prop_assert!(trainer.updates().iter().all(|update| update.died == update.grown));
    }
}

#[test]
fn larger_weights_take_the_place_of_smaller_ones() {
    let mut graph = small_net(3);
    let mut trainer = SparseTrainer::new(config(0.8)).unwrap();
    train(&mut graph, &mut Optimizer::new(SGD), 3, &mut CrossEntropy::default(), vec![&mut trainer]).unwrap();
    assert!(trainer.updates().iter().map(|update| update.grown).sum::<usize>() > 0);
}

/// Behind `end` only what runs is trained, and nothing is kept of the rest.
#[test]
fn exploration_ends() {
    struct Masks(Vec<BTreeMap<String, Vec<f32>>>);
    impl Callback for Masks {
        fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
            let masks = step.graph.params().filter_map(|(path, p)| Some((path, p.mask()?.data().to_vec())));
            self.0.push(masks.collect());
            Ok(Flow::Continue)
        }
    }
    let mut graph = small_net(3);
    let mut trainer = SparseTrainer::new(SparseTrainConfig { end: 0.5, ..config(0.8) }).unwrap();
    let mut masks = Masks(Vec::new());
    let callbacks: Vec<&mut dyn Callback> = vec![&mut trainer, &mut masks];
    train(&mut graph, &mut Optimizer::new(SGD), 3, &mut CrossEntropy::default(), callbacks).unwrap();
    // Of twelve steps, the fifth is the last that ends before half of the training.
    assert_eq!(trainer.updates().last().map(|update| update.step), Some(4));
    assert!(masks.0[4..].windows(2).all(|pair| pair[0] == pair[1]));
    assert!(trainer.state().arrays.is_empty() && !trainer.reads_masked_gradients());
}

/// A frozen layer has no gradient: it keeps its largest weights.
#[test]
fn layers_without_a_gradient_stay_as_they_are() {
    let mut graph = small_net(3);
    let mut trainer = SparseTrainer::new(config(0.5)).unwrap();
    trainer.on_begin(&mut graph).unwrap();
    let before = graph.clone();
    let mut gradients = ParamGradients::default();
    let progress = Progress { epoch: 0, epochs: 1, step: 0, steps: 10 };
    let mut step =
        Step { graph: &mut graph, gradients: &mut gradients, progress, loss: 0.0, rates: 0.5.into() };
    trainer.before_step(&mut step).unwrap();
    trainer.after_step(&mut step).unwrap();
    assert!(same_bits(&before, &graph));
}
