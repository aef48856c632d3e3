//! A training with exact gradients: its images and weights are small integers.

use lopper_engine::data::{Batch, Batches};
use lopper_engine::layer::Linear;
use lopper_engine::train::{Objective, Optimizer, OptimizerConfig, Reduce, Schedule, Trainer};
use lopper_engine::{Device, Graph, Layer, Param, Pass, Result, Tape, Tensor, Var};
use std::ops::Range;

/// SGD without momentum.
pub const PLAIN: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };

/// The mean squared distance of two logits from small targets for each label.
pub struct Squares;

impl Objective for Squares {
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        let labels = &batch.labels;
        let target = Tensor::from_fn(&[labels.len(), 2], |i| labels[i / 2] as f32 - (i % 2) as f32);
        let target = tape.constant(target);
        tape.mse(&pass.output, &target)
    }
}

/// The images `range` of a set of one pixel each.
pub fn images(range: Range<usize>) -> Batch {
    let (start, count) = (range.start * 3, range.len());
    let images = Tensor::from_fn(&[count, 1, 1, 3], |i| ((start + i) * 7 % 5) as f32 - 2.0);
    Batch::new(images, range.map(|n| (n % 3) as u32).collect())
}

/// A network of one linear layer.
pub fn linear() -> Graph {
    let mut graph = Graph::new(3);
    let flat = graph.push("flatten", Layer::Flatten, &[0]).unwrap();
    let weight = Param::new(Tensor::from_fn(&[2, 3], |i| i as f32 - 2.0));
    let bias = Some(Param::new(Tensor::zeros(&[2])));
    graph.push("fc", Layer::Linear(Linear { weight, bias }), &[flat]).unwrap();
    graph
}

/// Trains [`linear`] for two epochs, with a step for each `accumulate` batches.
pub fn fit(data: &mut dyn Batches, accumulate: usize, reduce: Option<&mut dyn Reduce>) -> Graph {
    let mut graph = linear();
    let trainer = Trainer {
        device: &Device::cpu(),
        optimizer: &mut Optimizer::new(PLAIN).accumulating(accumulate),
        schedule: Schedule::Constant,
        learning_rate: 0.5,
        epochs: 2,
        seed: 0,
        objective: &mut Squares,
        callbacks: Vec::new(),
        reduce: reduce.map(|reduce| reduce as &mut dyn Reduce),
    };
    trainer.fit(&mut graph, data, None).unwrap();
    graph
}
