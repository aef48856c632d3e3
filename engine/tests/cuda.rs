//! The engine on CUDA, emulated on the CPU, against the engine on the CPU.

mod support;

use lopper_engine::data::{Batch, Batches};
use lopper_engine::train::{
    CrossEntropy, Objective, Optimizer, OptimizerConfig, Schedule, Trainer, evaluate, gradients,
};
use lopper_engine::{Device, Graph, Layer, Mode, Pass, Result, Tape, Tensor, Var};
use lopper_kernels::cpu::{Cpu, Isa};
use lopper_kernels::cuda::Dtype;
use proptest::prelude::*;
use support::colors::{ADAM, Colors, SGD, network, train};
use support::{Random, cuda_on_cpu, random_graph};

fn largest(x: &Tensor) -> f32 {
    x.data().iter().fold(0.0, |max, v| v.abs().max(max))
}

/// Asserts that `found` equals `expected` within `bound`.
fn assert_close(what: &str, found: &Tensor, expected: &Tensor, bound: f32) {
    let difference = found.max_difference(expected).unwrap();
    assert!(difference <= bound, "{what}: the difference is {difference}, the bound {bound}");
}

/// Returns logits, gradients and the running statistics afterwards, by name.
fn outcome(device: &Device, graph: &Graph, mode: Mode, images: &Tensor) -> Vec<(String, Tensor)> {
    let mut graph = graph.clone();
    let mut tape = Tape::new(device).seed(3);
    let batch = Batch::new(images.clone(), (0..images.dim(0) as u32).map(|i| i % 4).collect());
    let pass = graph.forward(&mut tape, mode, images.clone(), &[]).unwrap();
    let loss = CrossEntropy::default().loss(&mut tape, &pass, &batch).unwrap();
    let gradients = pass.gradients(tape.backward(&loss).unwrap());
    graph.commit(&pass).unwrap();
    let mut all = vec![("logits".to_string(), pass.output.value().clone())];
    all.extend(gradients);
    all.extend(graph.buffers().map(|(name, buffer)| (name, buffer.clone())));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 4096, ..ProptestConfig::with_cases(48) })]

    /// Runs every layer forward and backward, in both modes, with masks, groups and frozen parameters.
    #[test]
    fn random_networks_agree_with_the_cpu(seed in any::<u64>(), train in any::<bool>()) {
        let Some(device) = cuda_on_cpu() else { return Ok(()) };
        let mut graph = random_graph(seed);
        if train && graph.nodes().iter().any(|n| matches!(n.layer, Layer::CompactConv2d(_))) {
            return Err(TestCaseError::reject("compact convolutions have no gradient"));
        }
        let mut random = Random(seed);
        graph.params_mut().for_each(|(_, param)| param.trainable = train && random.chance(70));
        let [h, w, c] = graph.info.input;
        let images = random.tensor(&[5, h, w, c]);
        let mode = if train { Mode::Train } else { Mode::Eval };
        let expected = outcome(&Device::cpu(), &graph, mode, &images);
        // Small variances, and gradients that are only rounding errors, make some networks sensitive. Images that differ
        // by a ten-thousandth measure how sensitive, and so do instruction sets that sum in another order: a gradient that
        // is zero but for rounding, such as that of a bias before a batch norm, depends on the order only.
        let near = (0..4).map(|_| {
            let near = |i: usize| images.data()[i] * (1.0 + random.float() * 1e-4);
            outcome(&Device::cpu(), &graph, mode, &Tensor::from_fn(images.shape(), near))
        });
        let mut moved: Vec<_> = near.collect();
        let others = Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa));
        moved.extend(others.map(|cpu| outcome(&Device::Cpu(cpu), &graph, mode, &images)));
        let found = outcome(&device, &graph, mode, &images);
        prop_assert_eq!(found.len(), expected.len());
        let of_all = expected.iter().map(|(_, tensor)| largest(tensor)).fold(1.0, f32::max);
        for (i, ((name, found), (other, expected))) in found.iter().zip(&expected).enumerate() {
            prop_assert_eq!(name, other);
            let changes = moved.iter().map(|moved| moved[i].1.max_difference(expected).unwrap());
            let bound = 1e-4 * largest(expected).max(of_all) + 5.0 * changes.fold(0.0, f32::max);
            assert_close(name, found, expected, bound);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let Some(device) = cuda_on_cpu() else { return };
    let losses = || {
        let mut graph = network();
        let history = train(&mut graph, &mut Colors::new(2), 1, SGD, &device, vec![]).unwrap();
        (history[0].train_loss, graph)
    };
    let ((a, graph_a), (b, graph_b)) = (losses(), losses());
    assert_eq!(a.to_bits(), b.to_bits());
    for ((path, a), (_, b)) in graph_a.params().zip(graph_b.params()) {
        assert!(a.value().same_bits(b.value()), "{path}");
    }
}

#[test]
fn trainings_agree_with_the_cpu() {
    let Some(device) = cuda_on_cpu() else { return };
    let adamw = OptimizerConfig::AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 };
    for config in [SGD, ADAM, adamw] {
        let run = |device: &Device| {
            let mut graph = network();
            let history = train(&mut graph, &mut Colors::new(3), 2, config, device, vec![]).unwrap();
            (history, graph)
        };
        let ((found, graph), (expected, same)) = (run(&device), run(&Device::cpu()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found.train_loss - expected.train_loss).abs() < 1e-3, "{found:?} for {expected:?}");
        }
        for ((path, found), (_, expected)) in graph.params().zip(same.params()) {
            assert_close(&path, found.value(), expected.value(), 2e-2 * largest(expected.value()));
        }
    }
}

#[test]
fn every_precision_learns() {
    let Some(device) = cuda_on_cpu() else { return };
    let exact = train(&mut network(), &mut Colors::new(6), 3, SGD, &Device::cpu(), vec![]).unwrap();
    for precision in [Dtype::Tf32, Dtype::Bf16, Dtype::F16] {
        let device = device.clone().with_precision(precision).unwrap();
        let mut graph = network();
        let history = train(&mut graph, &mut Colors::new(6), 3, SGD, &device, vec![]).unwrap();
        let (first, exact) = (history[0].train_loss, exact[0].train_loss);
        assert!((first - exact).abs() < 0.1 * exact, "{precision:?}: {first} for {exact}");
        let accuracy = evaluate(&graph, &mut Colors::new(5), &device).unwrap().accuracy.top1();
        assert!(accuracy > 0.9, "{precision:?}: {accuracy}");
    }
}

/// In f16 a gradient of 2⁻²⁶ is zero unless the loss is scaled.
#[test]
fn a_scaled_loss_keeps_small_gradients() {
    let Some(device) = cuda_on_cpu() else { return };
    let device = device.with_precision(Dtype::F16).unwrap();
    let batch = Colors::new(1).epoch(0).unwrap().next().unwrap().unwrap();
    let norm = |scale: f32| {
        let tape = Tape::new(&device).scaled(scale);
        let mut small = Shrunk(2f32.powi(-22));
        let (_, gradients) = gradients(&mut network(), &mut small, &batch, tape).unwrap();
        gradients["conv1.weight"].data().iter().map(|g| f64::from(g / scale).powi(2)).sum::<f64>().sqrt()
    };
    let (lost, kept) = (norm(1.0), norm(65_536.0));
    assert!(lost < 0.1 * kept && kept > 0.0, "{lost} without a scale, {kept} with one");
}

/// Fraction of the cross entropy.
struct Shrunk(f32);

impl Objective for Shrunk {
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        let loss = CrossEntropy::default().loss(tape, pass, batch)?;
        tape.scale(&loss, self.0)
    }
}

/// Steps with overflowing gradients are skipped until the factor is small enough.
#[test]
fn an_overflow_takes_no_step() {
    let Some(device) = cuda_on_cpu() else { return };
    let device = device.with_precision(Dtype::F16).unwrap();
    let mut graph = network();
    // The logits are so wrong that 2¹⁶ times their gradient overflows f16, though the loss does not.
    graph
        .params_mut()
        .filter(|(path, _)| path == "fc.weight")
        .for_each(|(_, p)| p.update(|w| w.iter_mut().for_each(|w| *w *= 40.0)));
    let start = graph.clone();
    let mut optimizer = Optimizer::new(SGD);
    let trainer = Trainer {
        device: &device,
        optimizer: &mut optimizer,
        schedule: Schedule::Constant,
        learning_rate: 1e-3,
        epochs: 1,
        seed: 1,
        objective: &mut CrossEntropy { smoothing: 0.0 },
        callbacks: Vec::new(),
        reduce: None,
    };
    trainer.fit(&mut graph, &mut Colors::new(1), None).unwrap();
    let same = graph.params().zip(start.params()).all(|((_, a), (_, b))| a.value().same_bits(b.value()));
    assert!(same && optimizer.moments("fc.weight").is_none(), "the first step overflows and is skipped");
}
