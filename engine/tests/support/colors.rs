//! A task that a small network learns in seconds, and that network.

use lopper_engine::data::{Batch, Batches};
use lopper_engine::layer::{Activation, BatchNorm, Conv2d, FixedWindow, Linear, Pool};
use lopper_engine::train::{
    Callback, CrossEntropy, EpochMetrics, Optimizer, OptimizerConfig, Schedule, Trainer,
};
use lopper_engine::{Device, Error, Graph, Layer, Param, Result, Tensor};

const CLASSES: [&str; 3] = ["red", "green", "blue"];

/// Returns distinct numbers in (−1, 1), the same on every run.
pub fn noise(i: usize, seed: u64) -> f32 {
    let x =
        (i as u64 ^ seed.wrapping_mul(0x51_7cc1_b727)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

/// Noisy 6 × 6 images whose class is the brightest of three channels.
pub struct Colors {
    pub batches: usize,
    pub batch_size: usize,
    /// Batch that cannot be read, and batch that contains a NaN.
    pub unreadable: Option<usize>,
    pub not_a_number: Option<usize>,
    pub classes: Vec<String>,
}

impl Colors {
    pub fn new(batches: usize) -> Self {
        let classes = CLASSES.map(String::from).to_vec();
        Self { batches, batch_size: 12, unreadable: None, not_a_number: None, classes }
    }

    fn batch(&self, epoch: usize, i: usize) -> Result<Batch> {
        if self.unreadable == Some(i) {
            return Err(Error::file("broken.jpg", "is not an image"));
        }
        let seed = (epoch * self.batches + i) as u64;
        let labels: Vec<u32> = (0..self.batch_size).map(|n| ((n + i) % 3) as u32).collect();
        let mut images = Tensor::from_fn(&[self.batch_size, 6, 6, 3], |at| {
            let (n, c) = (at / (6 * 6 * 3), at % 3);
            noise(at, seed) + if labels[n] as usize == c { 0.5 } else { 0.0 }
        });
        if self.not_a_number == Some(i) {
            images.data_mut()[17] = f32::NAN;
        }
        Ok(Batch::new(images, labels))
    }
}

impl Batches for Colors {
    fn len(&self) -> usize {
        self.batches
    }
    fn samples(&self) -> usize {
        self.batches * self.batch_size
    }
    fn image_shape(&self) -> [usize; 3] {
        [6, 6, 3]
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn epoch(&mut self, epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        Ok(Box::new((0..self.batches).map(move |i| self.batch(epoch, i))))
    }
}

pub fn conv(o: usize, c: usize, seed: u64) -> Conv2d {
    let weight = Param::new(Tensor::from_fn(&[o, 3, 3, c], |i| noise(i, seed) * 0.3));
    Conv2d {
        weight,
        bias: None,
        stride: [1; 2],
        padding: [1; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    }
}

/// Builds a convolution, a residual block, pooling, dropout and a linear layer.
pub fn network() -> Graph {
    let mut g = Graph::new(3);
    let stem = g.push("conv1", Layer::Conv2d(conv(8, 3, 1)), &[0]).unwrap();
    let bn1 = g.push("bn1", Layer::BatchNorm(BatchNorm::new(8)), &[stem]).unwrap();
    let relu1 = g.push("relu1", Layer::Activation(Activation::Relu), &[bn1]).unwrap();
    let conv2 = g.push("conv2", Layer::Conv2d(conv(8, 8, 2)), &[relu1]).unwrap();
    let bn2 = g.push("bn2", Layer::BatchNorm(BatchNorm::new(8)), &[conv2]).unwrap();
    let add = g.push("add", Layer::Add, &[bn2, relu1]).unwrap();
    let relu2 = g.push("relu2", Layer::Activation(Activation::Relu), &[add]).unwrap();
    let pool = g.push("pool", Layer::Pool(Pool::max(FixedWindow::square(2, 2, 0))), &[relu2]).unwrap();
    let flat = g.push("flatten", Layer::Flatten, &[pool]).unwrap();
    let dropout = g.push("dropout", Layer::Dropout { p: 0.2 }, &[flat]).unwrap();
    let weight = Param::new(Tensor::from_fn(&[3, 72], |i| noise(i, 3) * 0.1));
    let linear = Linear { weight, bias: Some(Param::new(Tensor::zeros(&[3]))) };
    g.push("fc", Layer::Linear(linear), &[dropout]).unwrap();
    g
}

pub const SGD: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 };
pub const ADAM: OptimizerConfig = OptimizerConfig::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };

/// Trains `graph` for `epochs` on six batches.
pub fn train(
    graph: &mut Graph,
    data: &mut Colors,
    epochs: usize,
    config: OptimizerConfig,
    device: &Device,
    callbacks: Vec<&mut dyn Callback>,
) -> Result<Vec<EpochMetrics>> {
    let trainer = Trainer {
        device,
        optimizer: &mut Optimizer::new(config),
        schedule: Schedule::one_cycle(),
        learning_rate: 0.02,
        epochs,
        seed: 5,
        objective: &mut CrossEntropy { smoothing: 0.0 },
        callbacks: callbacks.into_iter().map(|c| c as &mut dyn Callback).collect(),
        reduce: None,
    };
    let mut val = Colors::new(5);
    trainer.fit(graph, data, Some(&mut val))
}

/// Asserts that two networks have the same bits in all parameters and buffers.
#[track_caller]
pub fn assert_same_bits(a: &Graph, b: &Graph) {
    for ((path, a), (_, b)) in a.params().zip(b.params()) {
        assert!(a.value().same_bits(b.value()), "{path}");
    }
    for ((path, a), (_, b)) in a.buffers().zip(b.buffers()) {
        assert!(a.same_bits(b), "{path}");
    }
}
