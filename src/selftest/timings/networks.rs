//! Whole networks in wall-clock time: the latency of one image, and training steps.

use crate::latency::{Latency, test_images};
use crate::selftest::case::Case;
use crate::selftest::line::Timing;
use crate::selftest::rig::Rig;
use lopper_engine::data::Batch;
use lopper_engine::plan::Plan;
use lopper_engine::train::{CrossEntropy, Optimizer, OptimizerConfig, gradients};
use lopper_engine::{Error, Graph, Result, Tape, Tensor};
use lopper_kernels::params::Dtype;
use lopper_models::{Options, numbered_classes};
use std::time::Duration;

/// Small, so that the weights hardly change over any number of timed steps.
const LEARNING_RATE: f64 = 1e-6;

pub fn cases(rig: &Rig) -> Result<Vec<Case>> {
    let (networks, size, batch) =
        if rig.large { (["resnet18", "vgg16_bn"], 128, 64) } else { (["resnet8", "vgg8_bn"], 32, 2) };
    let latency = format!("{}, one image of {size} px", networks[0]);
    let mut cases = vec![Case::time(latency, "plan, f32", move |rig| of_one_image(rig, networks[0], size))];
    for network in networks {
        for precision in [Dtype::F32, Dtype::Tf32, Dtype::Bf16] {
            let what = format!("{network}, training step, {batch} images of {size} px");
            cases.push(Case::time(what, precision.name(), move |rig| {
                training(rig, network, size, batch, precision)
            }));
        }
    }
    Ok(cases)
}

fn network(rig: &Rig, name: &str, size: usize) -> Result<Graph> {
    let width = if rig.large { 1.0 } else { 0.125 };
    lopper_models::build(name, &Options { width, ..Options::new(numbered_classes(10), [size, size, 3]) })
}

/// Returns the minimum number of runs and the minimum time: a single run on the emulator.
fn effort(rig: &Rig) -> (usize, Duration) {
    if rig.large { (5, Duration::from_secs(1)) } else { (1, Duration::ZERO) }
}

fn of_one_image(rig: &Rig, name: &str, size: usize) -> Result<Timing> {
    let mut plan = Plan::new(&network(rig, name, size)?, [1, size, size, 3], &rig.device(Dtype::F32))?;
    let (runs, time) = effort(rig);
    let latency = Latency::measure(&mut plan, &test_images(size * size * 3), runs, time)?;
    Ok(images(&latency, 1))
}

/// Times forward pass, cross entropy, backward pass and Adam, until the device has finished.
fn training(rig: &Rig, name: &str, size: usize, batch: usize, precision: Dtype) -> Result<Timing> {
    let (mut graph, device) = (network(rig, name, size)?, rig.device(precision));
    let shape = [batch, size, size, 3];
    let images_of_it = Tensor::from_vec(&shape, test_images(shape.iter().product()))?;
    let batch_of_it = Batch::new(images_of_it, (0..batch as u32).map(|i| i % 10).collect());
    let adam = OptimizerConfig::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };
    let mut optimizer = Optimizer::new(adam);
    let (runs, time) = effort(rig);
    let latency = Latency::of(runs, time, || {
        let tape = Tape::new(&device);
        let (loss, gradients) = gradients(&mut graph, &mut CrossEntropy::default(), &batch_of_it, tape)?;
        if !loss.is_finite() {
            return Err(Error::invalid(format!("the loss is {loss}, so the step cannot be timed")));
        }
        optimizer.step(&mut graph, &gradients, LEARNING_RATE, &device)?;
        device.synchronize()
    })?;
    Ok(images(&latency, batch))
}

fn images(latency: &Latency, batch: usize) -> Timing {
    let (median_ms, runs) = (latency.median(), latency.spread().runs);
    Timing { median_ms, runs, rate: 1e3 * batch as f64 / median_ms, unit: "images/s".into() }
}
