//! Short ways to set up a training: everything but the essentials has a default.

use super::{Callback, Objective, Optimizer, OptimizerConfig, Reduce, Schedule, Trainer};
use crate::Device;

/// Decay rates of the first and second moment, and the constant added to the square root of the latter: the defaults of
/// Kingma & Ba 2015, and of PyTorch.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPS: f64 = 1e-8;

impl OptimizerConfig {
    /// Stochastic gradient descent with Nesterov momentum 0.9 and this weight decay.
    pub const fn sgd(weight_decay: f64) -> Self {
        Self::Sgd { momentum: 0.9, nesterov: true, weight_decay }
    }

    /// Adam with PyTorch's defaults.
    pub const fn adam() -> Self {
        Self::Adam { betas: BETAS, eps: EPS, weight_decay: 0.0 }
    }

    /// AdamW with PyTorch's defaults and this weight decay.
    pub const fn adamw(weight_decay: f64) -> Self {
        Self::AdamW { betas: BETAS, eps: EPS, weight_decay }
    }
}

/// ```
/// use lopper_engine::layer::Linear;
/// use lopper_engine::train::{ClipGradients, CrossEntropy, InMemory, Optimizer, OptimizerConfig, Trainer};
/// use lopper_engine::{Device, Graph, Layer, Param, Tensor};
///
/// // Points in four quadrants; the class is the sign of their product.
/// let points = Tensor::from_slice(&[4, 1, 1, 2], &[1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0, 1.0])?;
/// let mut data = InMemory::new(points, vec![0, 0, 1, 1], vec!["same".into(), "other".into()])?.batch(4);
/// let mut graph = Graph::new(2);
/// graph.push("flat", Layer::Flatten, &[0])?;
/// let weight = Param::new(Tensor::from_fn(&[2, 2], |i| i as f32));
/// graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[1])?;
///
/// let (device, mut clip) = (Device::cpu(), ClipGradients::new(1.0)?);
/// let (mut optimizer, mut loss) = (Optimizer::new(OptimizerConfig::adam()), CrossEntropy::default());
/// let epochs = Trainer::new(&device, &mut optimizer, &mut loss)
///     .epochs(20)
///     .learning_rate(0.1)
///     .callback(&mut clip)
///     .fit(&mut graph, &mut data, None)?;
/// assert!(epochs[19].train_loss < epochs[0].train_loss);
/// # Ok::<(), lopper_engine::Error>(())
/// ```
impl<'a> Trainer<'a> {
    /// Sets up one epoch on one cycle up to a learning rate of 0.001, with seed 0 and without callbacks.
    pub fn new(device: &'a Device, optimizer: &'a mut Optimizer, objective: &'a mut dyn Objective) -> Self {
        Self {
            device,
            optimizer,
            schedule: Schedule::one_cycle(),
            learning_rate: 1e-3,
            epochs: 1,
            seed: 0,
            objective,
            callbacks: Vec::new(),
            reduce: None,
        }
    }

    /// Sets the number of passes over the training images.
    pub fn epochs(self, epochs: usize) -> Self {
        Self { epochs, ..self }
    }

    /// Sets the maximum learning rate.
    pub fn learning_rate(self, learning_rate: f64) -> Self {
        Self { learning_rate, ..self }
    }

    /// Sets the schedule of the learning rate.
    pub fn schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// Sets the seed of dropout.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Adds a callback behind those that are there.
    pub fn callback(mut self, callback: &'a mut dyn Callback) -> Self {
        self.callbacks.push(callback);
        self
    }

    /// Combines the gradients with those of other replicas.
    pub fn reduce(self, reduce: &'a mut dyn Reduce) -> Self {
        Self { reduce: Some(reduce), ..self }
    }
}
