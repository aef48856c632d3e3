//! Whole networks on the device against the CPU: losses, the gradients of all parameters, and two training steps.

use super::case::Case;
use super::line::Tally;
use super::rig::Rig;
use super::rig::random;
use lopper_engine::data::{Batch, Batches};
use lopper_engine::train::{CrossEntropy, Optimizer, OptimizerConfig, Schedule, Trainer, gradients};
use lopper_engine::{Device, Graph, ParamGradients, Result, Tape, Tensor};
use lopper_kernels::params::Dtype;
use lopper_models::{Options, numbered_classes};

const NETWORKS: [&str; 2] = ["vgg8_bn", "resnet8"];
const SIDE: usize = 32;

/// Returns two cases for each network and precision.
pub fn cases(_: &Rig) -> Result<Vec<Case>> {
    let of = |(network, precision): (&'static str, Dtype)| {
        let how = precision.name();
        [
            Case::check(format!("{network}, gradients"), how, move |rig, tally| {
                compare_gradients(rig, tally, network, precision)
            }),
            Case::check(format!("{network}, two training steps"), how, move |rig, tally| {
                compare_training(rig, tally, network, precision)
            }),
        ]
    };
    let all =
        NETWORKS.into_iter().flat_map(|network| Dtype::PRECISIONS.map(|precision| (network, precision)));
    Ok(all.flat_map(of).collect())
}

/// Error limits for a loss, the gradient of a parameter as a vector, and the losses after two steps. They are wide
/// because the rounding of a factor passes through eight layers in both directions, and batch norms magnify it.
struct Limits {
    loss: f64,
    gradient: f64,
    training: f64,
}

impl Limits {
    fn of(precision: Dtype) -> Self {
        let (loss, gradient, training) = match precision {
            Dtype::F32 => (1e-5, 5e-3, 1e-3),
            Dtype::Tf32 => (1e-3, 0.1, 1e-2),
            Dtype::F16 => (5e-3, 0.3, 5e-2),
            Dtype::Bf16 => (2e-2, 0.4, 5e-2),
            Dtype::U32 => unreachable!("networks compute with floating-point numbers"),
        };
        Self { loss, gradient, training }
    }
}

/// Builds a network, and images with labels for it.
fn workload(rig: &Rig, network: &str) -> Result<(Graph, Images)> {
    let (width, images) = if rig.large { (1.0, 32) } else { (0.125, 4) };
    let classes = numbered_classes(10);
    let options = Options { width, ..Options::new(classes.clone(), [SIDE, SIDE, 3]) };
    let shape = [images, SIDE, SIDE, 3];
    let values = random(1, shape.iter().product());
    let labels = (0..images as u32).map(|i| i % 10).collect();
    let batch = Batch::new(Tensor::from_vec(&shape, values)?, labels);
    Ok((lopper_models::build(network, &options)?, Images { batch, classes }))
}

fn compare_gradients(rig: &Rig, tally: &mut Tally, network: &str, precision: Dtype) -> Result<()> {
    let (graph, images) = workload(rig, network)?;
    // As in training, loss scaling moves gradients that underflow in f16 into its range.
    let scale = if precision == Dtype::F16 { 1024.0 } else { 1.0 };
    let run = |device: &Device| -> Result<(f32, ParamGradients)> {
        let tape = Tape::new(device).scaled(scale);
        gradients(&mut graph.clone(), &mut CrossEntropy::default(), &images.batch, tape)
    };
    let (got_loss, got) = run(&rig.device(precision))?;
    let (want_loss, want) = run(&Device::Cpu(rig.cpu.clone()))?;
    let limits = Limits::of(precision);
    tally.compare("loss", limits.loss, &[got_loss], &[want_loss]);
    tally.expect(got.len() == want.len(), format!("{} gradients, expected {}", got.len(), want.len()));
    let largest = |values: &[f32]| values.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let overall = want.values().map(|g| largest(g.data())).fold(0.0, f32::max);
    for (path, want) in &want {
        let Some(got) = got.get(path) else { continue };
        got.fetch()?;
        // The gradient of a bias before a batch norm is zero except for rounding.
        if largest(want.data()) < 1e-3 * overall {
            let small = largest(got.data()) < limits.gradient as f32 * overall;
            tally.expect(small, format!("{path}: up to {}, expected almost 0", largest(got.data())));
        } else {
            tally.compare_vectors(path, limits.gradient, got.data(), want.data());
        }
    }
    Ok(())
}

/// Compares the losses before, between and after two steps.
fn compare_training(rig: &Rig, tally: &mut Tally, network: &str, precision: Dtype) -> Result<()> {
    let (graph, mut images) = workload(rig, network)?;
    let sgd = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
    let mut run = |device: &Device| -> Result<Vec<f32>> {
        let trainer = Trainer {
            device,
            optimizer: &mut Optimizer::new(sgd),
            schedule: Schedule::Constant,
            learning_rate: 0.02,
            epochs: 3,
            seed: 1,
            objective: &mut CrossEntropy::default(),
            callbacks: Vec::new(),
            reduce: None,
        };
        let history = trainer.fit(&mut graph.clone(), &mut images, None)?;
        Ok(history.iter().map(|epoch| epoch.train_loss as f32).collect())
    };
    let (got, want) = (run(&rig.device(precision))?, run(&Device::Cpu(rig.cpu.clone()))?);
    tally.expect(want[2] < want[0], format!("the losses on the CPU do not decrease: {want:?}"));
    tally.compare(&format!("losses {want:.4?}"), Limits::of(precision).training, &got, &want);
    Ok(())
}

/// The same batch every epoch.
struct Images {
    batch: Batch,
    classes: Vec<String>,
}

impl Batches for Images {
    fn len(&self) -> usize {
        1
    }

    fn samples(&self) -> usize {
        self.batch.labels.len()
    }

    fn image_shape(&self) -> [usize; 3] {
        [SIDE, SIDE, 3]
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn epoch(&mut self, _: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        Ok(Box::new(std::iter::once(Ok(self.batch.clone()))))
    }
}
