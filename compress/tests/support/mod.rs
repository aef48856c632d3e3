//! Small networks for the tests of this crate.
#![allow(dead_code)] // Each test file uses some of them.

use engine::layer::{BatchNorm, Conv2d, Layer, Linear};
use engine::{Graph, NodeId, Param, Tensor};
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

/// `conv1 → bn1 → relu → depthwise → conv2 → bn2 → relu → pool → flatten → fc1 → relu → fc2`, on images `[4, 4, 2]`:
/// 6, 6 and 8 filters, 8 → 10 → `classes` features.
pub fn small_net(classes: usize) -> Graph {
    Chain::new(2)
        .then("body.conv1", conv(6, 2, 3, 1, 1))
        .then("body.bn1", Layer::BatchNorm(BatchNorm::new(6)))
        .then("body.relu1", Layer::Relu)
        .then("body.depthwise", conv(6, 6, 3, 6, 2))
        .then("body.conv2", conv(8, 6, 1, 1, 3))
        .then("body.relu2", Layer::Relu)
        .then("body.bn2", Layer::BatchNorm(BatchNorm::new(8)))
        .then("pool", Layer::AdaptiveAvgPool([1, 1]))
        .then("flatten", Layer::Flatten)
        .then("fc1", linear(10, 8, 4))
        .then("relu3", Layer::Relu)
        .then("fc2", linear(classes, 10, 5))
        .graph
}
