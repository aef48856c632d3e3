//! What belongs to a weight goes with it when channels are removed while training: moments, averages, and the next step.

use crate::support::shrinking::{ADAMW, SGD, half, net};
use crate::support::*;
use lopper_compress::Context;
use lopper_compress::criteria::LargeFinal;
use lopper_compress::prune::{Constants, PruneConfig, PrunePlan, Pruner, mask};
use lopper_compress::sparsify::SparsitySchedule;
use lopper_engine::channels::{ChannelFlow, Slices};
use lopper_engine::train::{
    Callback, CrossEntropy, Flow, MovingAverage, Optimizer, OptimizerConfig, ParamState, Progress, Step,
    gradients,
};
use lopper_engine::{Device, Graph, Layer, ParamGradients, Result, Tape, Tensor};
use std::collections::BTreeMap;

/// Ends the training after a number of steps.
struct EndAfter(usize);

impl Callback for EndAfter {
    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        Ok(if step.progress.step + 1 == self.0 { Flow::Stop } else { Flow::Continue })
    }
}

/// The optimizer's moments by parameter.
fn moments(optimizer: &Optimizer) -> BTreeMap<String, (u32, Vec<Tensor>)> {
    optimizer.states().into_iter().map(|(path, state)| (path, (state.steps, state.moments))).collect()
}

/// What must stay of the tensor at `path` of [`net`] if `plan` is applied, worked out by hand for that network.
fn stays(path: &str, tensor: &Tensor, plan: &PrunePlan) -> Tensor {
    let [first, second] = [0, 1].map(|group| plan.groups[group].keep.as_slice());
    match path.rsplit_once('.').unwrap() {
        ("body.conv1" | "body.bn1" | "body.depthwise", _) => tensor.select(0, first),
        ("body.conv2", "weight") => tensor.select(0, second).select(3, first),
        ("body.conv2" | "body.bn2", _) => tensor.select(0, second),
        ("fc1", "weight") => tensor.select(1, second),
        ("fc1" | "fc2", _) => tensor.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn moments_and_averages_of_the_channels_that_stay_keep_every_bit() {
    for optimizer in [SGD, ADAMW] {
        // Three steps, of which the third ends a turn with 5 of 14 channels gone.
        let every = PruneConfig {
            every: Some(3),
            schedule: Some(SparsitySchedule::Linear),
            ..half(LargeFinal, Context::Global)
        };
        let run = |pruner: Option<&mut Pruner>| {
            let (mut graph, mut optimizer) = (net(), Optimizer::new(optimizer));
            let (mut average, mut end) = (MovingAverage::new(0.5).unwrap(), EndAfter(3));
            let mut callbacks: Vec<&mut dyn Callback> = Vec::new();
            callbacks.extend(pruner.map(|pruner| pruner as &mut dyn Callback));
            callbacks.extend([&mut average as &mut dyn Callback, &mut end]);
            train(&mut graph, &mut optimizer, 1, &mut CrossEntropy::default(), callbacks).unwrap();
            // The network at the end is the average.
            (graph, moments(&optimizer))
        };
        let mut pruner = Pruner::new(every).unwrap();
        let (whole, before) = run(None);
        let (narrow, after) = run(Some(&mut pruner));
        assert_eq!(pruner.history().iter().map(|turn| turn.removed).collect::<Vec<_>>(), [5]);
        // The plan that scores the trained weights, found from the shapes and values of what is left.
        let plan = kept_of(&whole, &narrow);
        assert!(plan.groups.iter().any(|group| group.keep.len() < group.units));
        let values = |graph: &Graph| -> BTreeMap<String, Tensor> {
            let params = graph.params().map(|(path, param)| (path, param.value().clone()));
            params.chain(graph.buffers().map(|(path, buffer)| (path, buffer.clone()))).collect()
        };
        let (whole, narrow) = (values(&whole), values(&narrow));
        for (path, value) in &narrow {
            assert!(stays(path, &whole[path], &plan).same_bits(value), "average of {path}");
        }
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        for (path, (steps, tensors)) in &after {
            assert_eq!(*steps, before[path].0);
            for (tensor, wide) in tensors.iter().zip(&before[path].1) {
                assert!(stays(path, wide, &plan).same_bits(tensor), "a moment of {path}");
            }
        }
    }
}

/// The plan that turned the first network into the second, by the biases of their batch norms and convolutions, which
/// differ from channel to channel.
fn kept_of(wide: &Graph, narrow: &Graph) -> PrunePlan {
    let rows = |graph: &Graph, path: &str| -> Vec<Vec<u32>> {
        let weight = graph.param(path).unwrap().value();
        let size = weight.len() / weight.dim(0);
        weight.data().chunks(size).map(|row| row.iter().map(|w| w.to_bits()).collect()).collect()
    };
    let mut plan = PrunePlan::dead(wide).unwrap();
    for (group, path) in plan.groups.iter_mut().zip(["body.conv1.weight", "body.bn2.bias"]) {
        let (all, left) = (rows(wide, path), rows(narrow, path));
        group.keep = (0..all.len()).filter(|&row| left.contains(&all[row])).collect();
        assert_eq!(group.keep.len(), left.len(), "{path}");
    }
    plan
}

/// A network in training with momentum, and what pruning half of it leaves.
struct Half {
    masked: Graph,
    narrow: Graph,
    slices: Slices,
    states: Vec<(String, ParamState)>,
}

impl Half {
    fn new(config: OptimizerConfig) -> Self {
        let (mut graph, mut optimizer) = (net(), Optimizer::new(config));
        train(&mut graph, &mut optimizer, 1, &mut CrossEntropy::default(), Vec::new()).unwrap();
        let plan =
            PruneConfig { schedule: None, ..half(LargeFinal, Context::Local) }.plan(&graph, None).unwrap();
        let flow = ChannelFlow::new(&graph).unwrap();
        let mut removed = vec![false; flow.unit_count()];
        for (group, planned) in flow.groups().iter().filter(|g| g.frozen.is_none()).zip(&plan.groups) {
            for unit in group.units.iter().filter(|unit| !planned.keep.contains(&unit.channel)) {
                removed[unit.id] = true;
            }
        }
        let narrow = lopper_compress::prune(&graph, &plan, Constants::Drop).unwrap().graph;
        let masked = mask(&graph, &plan).unwrap().graph;
        Self { masked, narrow, slices: Slices::of(&graph, &flow, &removed), states: optimizer.states() }
    }

    /// The states of the parameters that stay.
    fn narrow_states(&self) -> Vec<(String, ParamState)> {
        let mut states = self.states.clone();
        for (path, state) in &mut states {
            state.moments.iter_mut().for_each(|moment| *moment = self.slices.of_tensor(path, moment));
        }
        states
    }
}

fn step(
    graph: &mut Graph,
    config: OptimizerConfig,
    states: &[(String, ParamState)],
    gradients: &ParamGradients,
) {
    let mut optimizer = Optimizer::new(config);
    optimizer.restore(states.to_vec(), graph).unwrap();
    optimizer.step(graph, gradients, 0.05, &Device::cpu()).unwrap();
}

#[test]
fn a_step_after_pruning_is_the_step_of_the_masked_network() {
    for config in [SGD, ADAMW] {
        let mut half = Half::new(config);
        let batch = Toy::new(9, 3).batch(8);
        let of = |graph: &mut Graph| {
            let tape = Tape::new(&Device::cpu()).seed(1);
            gradients(graph, &mut CrossEntropy::default(), &batch, tape).unwrap()
        };
        let mut masked = half.masked.clone();
        let ((loss, wide), (narrow_loss, narrow)) = (of(&mut masked), of(&mut half.narrow));
        // Sums over fewer channels round differently; the removed terms are zeros.
        assert!((loss - narrow_loss).abs() <= 1e-6 * loss.abs(), "{loss} {narrow_loss}");
        let left: ParamGradients =
            wide.iter().map(|(path, g)| (path.clone(), half.slices.of_tensor(path, g))).collect();
        for (path, gradient) in &narrow {
            let largest = left[path].data().iter().fold(0.0f32, |m, g| m.max(g.abs()));
            let gap = left[path].max_difference(gradient).unwrap();
            assert!(gap <= 1e-5 * largest.max(1e-3), "{path}: {gap} of {largest}");
        }
        // Given the same gradients, every bit of the step is the same.
        step(&mut masked, config, &half.states, &wide);
        let states = half.narrow_states();
        step(&mut half.narrow, config, &states, &left);
        for (path, param) in half.narrow.params() {
            let whole = masked.param(&path).unwrap().value();
            assert!(half.slices.of_tensor(&path, whole).same_bits(param.value()), "{path}");
        }
    }
}

/// Exact removal changes no function: what a dead channel holds is absorbed, and averages absorb it too.
#[test]
fn exact_removal_of_dead_channels_moves_their_constants() {
    let mut graph = net();
    // Channel 1 of conv2 and its batch norm: relu(0) · γ̂ + shift behind the batch norm, a constant.
    let mask = Tensor::from_fn(&[8, 1, 1, 6], |i| f32::from(i / 6 != 1));
    graph.param_mut("body.conv2.weight").unwrap().set_mask(Some(mask)).unwrap();
    graph.param_mut("body.conv2.bias").unwrap().update(|b| b[1] = -1.0);
    graph.param_mut("body.bn2.bias").unwrap().update(|b| b[1] = 0.75);
    let config = PruneConfig {
        constants: Constants::Exact,
        ..toml::from_str(
            "criterion = \"large_final\"\nschedule = \"one_shot\"\nwidths = { \"body.conv2\" = 7 }",
        )
        .unwrap()
    };
    let mut pruner = Pruner::new(config).unwrap();
    pruner.on_begin(&mut graph).unwrap();
    let progress = Progress { epoch: 0, epochs: 1, step: 0, steps: 1 };
    let shrunk = pruner.shrink(&graph, progress).unwrap().unwrap();
    assert_eq!(shrunk.graph.param("body.conv2.weight").unwrap().value().dim(0), 7);
    let images = noise(&[3, 4, 4, 2], 77);
    let logits = |graph: &Graph| graph.logits(&Device::cpu(), images.clone()).unwrap();
    assert!(logits(&graph).max_difference(&logits(&shrunk.graph)).unwrap() < 1e-5);
    // An average with other weights moves by as much.
    let mut average = graph.clone();
    average.params_mut().for_each(|(_, param)| param.update(|w| w.iter_mut().for_each(|w| *w += 0.125)));
    let followed = shrunk.follow(&graph, &average).unwrap();
    let bias = |graph: &Graph| graph.param("fc1.bias").unwrap().value().data().to_vec();
    let moves = bias(&shrunk.graph).into_iter().zip(bias(&graph)).map(|(new, old)| new - old);
    let expected: Vec<f32> = bias(&average).into_iter().zip(moves).map(|(own, moved)| own + moved).collect();
    assert_eq!(bias(&followed), expected);
    assert_ne!(bias(&followed), bias(&average));
}

/// A bias that absorbs constants is trained only if the weights beside it are.
#[test]
fn a_new_bias_is_frozen_with_its_layer() {
    for trainable in [true, false] {
        let mut graph = net();
        let mask = Tensor::from_fn(&[8, 1, 1, 6], |i| f32::from(i / 6 != 1));
        graph.param_mut("body.conv2.weight").unwrap().set_mask(Some(mask)).unwrap();
        graph.param_mut("body.bn2.bias").unwrap().update(|b| b[1] = 0.75);
        let Layer::Linear(linear) = graph.layer_mut(10) else { panic!("fc1") };
        linear.bias = None;
        linear.weight.trainable = trainable;
        let dead = PruneConfig::default().apply(&graph, None).unwrap().graph;
        assert_eq!(dead.param("fc1.bias").unwrap().trainable, trainable);
    }
}
