//! Steps of several batches: as with one batch of their size.

mod support;

use lopper_engine::data::{Batch, Batches};
use lopper_engine::layer::Linear;
use lopper_engine::train::{Optimizer, OptimizerConfig, Reduce, Schedule, Trainer};
use lopper_engine::{Device, Graph, Layer, Param, ParamGradients, Result, Tensor};
use support::squares::Squares;

/// The same eight images, which are small integers, in every epoch, in batches of `size`.
struct Eight {
    size: usize,
    classes: Vec<String>,
}

impl Eight {
    fn in_batches_of(size: usize) -> Self {
        Self { size, classes: Vec::new() }
    }
}

impl Batches for Eight {
    fn len(&self) -> usize {
        8 / self.size
    }
    fn samples(&self) -> usize {
        8
    }
    fn image_shape(&self) -> [usize; 3] {
        [1, 1, 3]
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn epoch(&mut self, _: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let size = self.size;
        Ok(Box::new((0..self.len()).map(move |number| {
            let first = number * size;
            let images = Tensor::from_fn(&[size, 1, 1, 3], |i| ((first * 3 + i) * 7 % 5) as f32 - 2.0);
            Ok(Batch::new(images, (first..first + size).map(|n| (n % 3) as u32).collect()))
        })))
    }
}

fn fit(size: usize, accumulate: usize, reduce: Option<&mut dyn Reduce>) -> Graph {
    let mut graph = Graph::new(3);
    let flat = graph.push("flatten", Layer::Flatten, &[0]).unwrap();
    let weight = Param::new(Tensor::from_fn(&[2, 3], |i| i as f32 - 2.0));
    let bias = Some(Param::new(Tensor::zeros(&[2])));
    graph.push("fc", Layer::Linear(Linear { weight, bias }), &[flat]).unwrap();
    let plain = OptimizerConfig::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let trainer = Trainer {
        device: &Device::cpu(),
        optimizer: &mut Optimizer::new(plain).accumulating(accumulate),
        schedule: Schedule::Constant,
        learning_rate: 0.5,
        epochs: 2,
        seed: 0,
        objective: &mut Squares,
        callbacks: Vec::new(),
        reduce: reduce.map(|reduce| reduce as &mut dyn Reduce),
    };
    trainer.fit(&mut graph, &mut Eight::in_batches_of(size), None).unwrap();
    graph
}

fn same_bits(a: &Graph, b: &Graph) -> bool {
    a.params().zip(b.params()).all(|((_, a), (_, b))| a.value().same_bits(b.value()))
}

#[test]
fn several_batches_make_the_step_of_one() {
    let whole = fit(8, 1, None);
    assert!(same_bits(&fit(4, 2, None), &whole));
    assert!(same_bits(&fit(2, 4, None), &whole));
    assert!(same_bits(&fit(4, 5, None), &whole), "an epoch ends a step");
    assert!(!same_bits(&fit(4, 1, None), &whole));
}

#[test]
fn replicas_combine_the_mean_gradient_once_a_step() {
    let mut calls = 0;
    let mut count = |_: &mut ParamGradients| -> Result<()> {
        calls += 1;
        Ok(())
    };
    fit(2, 2, Some(&mut count));
    assert_eq!(calls, 4);
}
