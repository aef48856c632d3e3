//! Small networks for the tests of this crate.
#![allow(dead_code)] // Each test file uses some of them.

pub mod shrinking;

use lopper_engine::data::{Batch, Batches};
use lopper_engine::layer::{Activation, BatchNorm, Conv2d, Layer, Linear, Pool, Window};
use lopper_engine::train::{
    Callback, Checkpoint, EpochMetrics, Keeper, Objective, Optimizer, Progress, Schedule, Trainer, Why, Wish,
};
use lopper_engine::{Device, Graph, NodeId, Param, Result, Tensor};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Values in −1..1, fixed by `seed`.
pub fn noise(shape: &[usize], seed: u64) -> Tensor {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    Tensor::from_fn(shape, |_| generator.random_range(-1.0..1.0))
}

/// A convolution `k`×`k` that keeps the image's size, of weights in −1..1.
pub fn conv(o: usize, c: usize, k: usize, groups: usize, seed: u64) -> Layer {
    Layer::Conv2d(Conv2d {
        weight: Param::new(noise(&[o, k, k, c / groups], seed)),
        bias: Some(Param::new(Tensor::zeros(&[o]))),
        stride: [1; 2],
        padding: [k / 2; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups,
    })
}

/// A linear layer of weights in −1..1.
pub fn linear(outputs: usize, inputs: usize, seed: u64) -> Layer {
    let bias = Some(Param::new(Tensor::zeros(&[outputs])));
    Layer::Linear(Linear { weight: Param::new(noise(&[outputs, inputs], seed)), bias })
}

/// A graph that is built layer by layer, each reading the one before.
pub struct Chain {
    pub graph: Graph,
    last: NodeId,
}

impl Chain {
    pub fn new(channels: usize) -> Self {
        Self { graph: Graph::new(channels), last: 0 }
    }

    pub fn then(mut self, name: &str, layer: Layer) -> Self {
        self.last = self.graph.push(name, layer, &[self.last]).unwrap();
        self
    }
}

/// `conv1 → bn1 → relu → depthwise → conv2 → relu → bn2 → pool → flatten → fc1 → relu → fc2`, on images
/// `[4, 4, 2]`: 6, 6 and 8 filters, 8 → 10 → `classes` features.
pub fn small_net(classes: usize) -> Graph {
    Chain::new(2)
        .then("body.conv1", conv(6, 2, 3, 1, 1))
        .then("body.bn1", Layer::BatchNorm(BatchNorm::new(6)))
        .then("body.relu1", Layer::Activation(Activation::Relu))
        .then("body.depthwise", conv(6, 6, 3, 6, 2))
        .then("body.conv2", conv(8, 6, 1, 1, 3))
        .then("body.relu2", Layer::Activation(Activation::Relu))
        .then("body.bn2", Layer::BatchNorm(BatchNorm::new(8)))
        .then("pool", Layer::Pool(Pool::average(Window::Adaptive([1, 1]))))
        .then("flatten", Layer::Flatten)
        .then("fc1", linear(10, 8, 4))
        .then("relu3", Layer::Activation(Activation::Relu))
        .then("fc2", linear(classes, 10, 5))
        .graph
}

/// Labelled noise: batches of 8 images `[4, 4, 2]`, the same in every epoch. The first channel is brighter
/// the higher the class, so that there is something to learn.
pub struct Toy {
    batches: usize,
    classes: Vec<String>,
}

impl Toy {
    pub fn new(batches: usize, classes: usize) -> Self {
        Self { batches, classes: (0..classes).map(|c| c.to_string()).collect() }
    }

    pub fn batch(&self, index: usize) -> Batch {
        let classes = self.classes.len();
        let mut images = noise(&[8, 4, 4, 2], 1000 + index as u64);
        for (i, value) in images.data_mut().iter_mut().enumerate().step_by(2) {
            *value += (i / 32 % classes) as f32;
        }
        Batch::new(images, (0..8).map(|i| (i % classes) as u32).collect())
    }
}

impl Batches for Toy {
    fn len(&self) -> usize {
        self.batches
    }

    fn samples(&self) -> usize {
        8 * self.batches
    }

    fn image_shape(&self) -> [usize; 3] {
        [4, 4, 2]
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn epoch(&mut self, _epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        Ok(Box::new((0..self.batches).map(|i| Ok(self.batch(i)))))
    }
}

/// A source of images whose last batch of each epoch cannot be read.
pub struct Gaps(pub Toy);

impl Batches for Gaps {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn samples(&self) -> usize {
        self.0.samples()
    }

    fn image_shape(&self) -> [usize; 3] {
        self.0.image_shape()
    }

    fn classes(&self) -> &[String] {
        self.0.classes()
    }

    fn epoch(&mut self, epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let readable = self.0.len() - 1;
        Ok(Box::new(self.0.epoch(epoch)?.take(readable)))
    }
}

/// Stops a training after a step, and keeps the checkpoint.
pub struct StopAfter(pub usize, pub Option<Checkpoint>);

impl Keeper for StopAfter {
    fn wish(&mut self, progress: Progress) -> Wish {
        if progress.step == self.0 { Wish::Stop } else { Wish::GoOn }
    }

    fn keep(&mut self, checkpoint: Checkpoint, _: Why) -> Result<()> {
        self.1 = Some(checkpoint);
        Ok(())
    }
}

/// Trains `graph` on [`Toy`] images of 3 classes, at learning rate 0.05.
pub fn train(
    graph: &mut Graph,
    optimizer: &mut Optimizer,
    epochs: usize,
    objective: &mut dyn Objective,
    callbacks: Vec<&mut dyn Callback>,
) -> Result<Vec<EpochMetrics>> {
    let device = Device::cpu();
    let trainer = Trainer {
        device: &device,
        optimizer,
        schedule: Schedule::Constant,
        learning_rate: 0.05,
        epochs,
        seed: 7,
        objective,
        // Reborrowed: they may live longer than the device.
        callbacks: callbacks.into_iter().map(|c| c as &mut dyn Callback).collect(),
        reduce: None,
    };
    trainer.fit(graph, &mut Toy::new(4, 3), Some(&mut Toy::new(1, 3)))
}

/// Whether two networks hold the same bits, running statistics included.
pub fn same_bits(a: &Graph, b: &Graph) -> bool {
    let tensors = |g: &Graph| {
        let params = g.params().map(|(path, p)| (path, p.value().clone()));
        params.chain(g.buffers().map(|(path, t)| (path, t.clone()))).collect::<Vec<_>>()
    };
    let (a, b) = (tensors(a), tensors(b));
    a.len() == b.len() && a.iter().zip(&b).all(|((p, x), (q, y))| p == q && x.same_bits(y))
}
