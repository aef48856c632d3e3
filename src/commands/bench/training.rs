//! `lopper bench MODEL --training`: whole training steps on fixed images and labels.

use super::Bench;
use crate::latency::{Latency, Spread};
use lopper_engine::data::Batch;
use lopper_engine::profile::{Profile, Span};
use lopper_engine::train::{CrossEntropy, Optimizer, OptimizerConfig, gradients};
use lopper_engine::{Device, Error, Graph, Result, Tape, Tensor};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Small, so that the weights hardly move over any number of timed steps.
const LEARNING_RATE: f64 = 1e-6;

/// Number of steps that the breakdown by layer averages over.
const PROFILED_STEPS: u32 = 5;

/// Number of values that Adam stores per parameter.
pub const MOMENTS: usize = 2;

/// Measurements of a training step.
#[derive(Serialize)]
pub struct Timing {
    network: String,
    batch: usize,
    size: usize,
    hardware: String,
    #[serde(flatten)]
    latency: Spread,
    images_per_second: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<Part>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Part>,
}

/// Mean forward and backward time of a part of the network in a step.
#[derive(Serialize)]
struct Part {
    name: String,
    kind: String,
    forward_ms: f64,
    backward_ms: f64,
}

/// Times training steps of `graph` on `images` for `time`: forward, cross entropy, backward, Adam.
pub fn measure(
    bench: &Bench,
    mut graph: Graph,
    images: Tensor,
    time: Duration,
    device: &Device,
) -> Result<Timing> {
    let (batch, size) = (images.dim(0), images.dim(1));
    let classes = graph.info.classes.len().max(1) as u32;
    let batch_of_images = Batch::new(images, (0..batch as u32).map(|i| i % classes).collect());
    let adam = OptimizerConfig::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };
    let mut optimizer = Optimizer::new(adam);
    // Runs a step and returns the time of its optimizer.
    let mut step = |tape: Tape| -> Result<Duration> {
        let (loss, gradients) = gradients(&mut graph, &mut CrossEntropy::default(), &batch_of_images, tape)?;
        if !loss.is_finite() {
            return Err(Error::invalid(format!("training: the loss is {loss}, so there is no step to time")));
        }
        let start = Instant::now();
        optimizer.step(&mut graph, &gradients, LEARNING_RATE, device)?;
        Ok(start.elapsed())
    };
    let latency = Latency::of(3, time, || step(Tape::new(device)).map(drop))?;
    let layers = if bench.layers { breakdown(device, &mut step)? } else { Vec::new() };
    Ok(Timing {
        network: bench.network.clone(),
        batch,
        size,
        hardware: device.hardware(),
        latency: latency.spread(),
        images_per_second: 1e3 * batch as f64 / latency.median(),
        kinds: by_kind(&layers),
        layers,
    })
}

/// Returns the mean times of each layer, the loss and the optimizer over the profiled steps.
fn breakdown(device: &Device, step: &mut impl FnMut(Tape) -> Result<Duration>) -> Result<Vec<Part>> {
    let mut layers: Vec<Part> = Vec::new();
    let mut optimizer = Part::zero("optimizer", "optimizer");
    for _ in 0..PROFILED_STEPS {
        let profile = Profile::default();
        optimizer.forward_ms += mean_ms(step(Tape::new(device).profiled(&profile))?);
        let spans = profile.spans();
        if layers.is_empty() {
            layers = spans.iter().map(|span| Part::zero(&span.name, span.kind)).collect();
        }
        // Every step runs the same layers in the same order.
        for (layer, Span { forward, backward, .. }) in layers.iter_mut().zip(spans) {
            layer.forward_ms += mean_ms(forward);
            layer.backward_ms += mean_ms(backward);
        }
    }
    layers.push(optimizer);
    Ok(layers)
}

/// Returns the contribution of one step to the mean over the profiled steps.
fn mean_ms(time: Duration) -> f64 {
    1e3 * time.as_secs_f64() / f64::from(PROFILED_STEPS)
}

impl Part {
    fn zero(name: &str, kind: &str) -> Self {
        Self { name: name.to_string(), kind: kind.to_string(), forward_ms: 0.0, backward_ms: 0.0 }
    }

    fn total(&self) -> f64 {
        self.forward_ms + self.backward_ms
    }
}

/// Sums the layers of each kind, slowest first.
fn by_kind(layers: &[Part]) -> Vec<Part> {
    let mut kinds = BTreeMap::new();
    for layer in layers {
        let kind = kinds.entry(&layer.kind).or_insert_with(|| Part::zero(&layer.kind, &layer.kind));
        kind.forward_ms += layer.forward_ms;
        kind.backward_ms += layer.backward_ms;
    }
    let mut kinds: Vec<Part> = kinds.into_values().collect();
    kinds.sort_by(|a, b| b.total().total_cmp(&a.total()));
    kinds
}

impl Timing {
    /// Formats the measurements for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} at {} px, training, batch {}, {}: median {:.2} ms per step, 10–90 % {:.2}–{:.2} ms, {} steps, {:.1} images/s\n",
            self.network,
            self.size,
            self.batch,
            self.hardware,
            self.latency.median_ms,
            self.latency.p10_ms,
            self.latency.p90_ms,
            self.latency.runs,
            self.images_per_second
        );
        let whole: f64 = self.layers.iter().map(Part::total).sum();
        for (title, parts) in [("kind", &self.kinds), ("layer", &self.layers)] {
            let width = parts.iter().map(|p| p.name.len()).max().unwrap_or(0).max(title.len());
            if !parts.is_empty() {
                text += &format!(
                    "\n{title:width$}  {:>10}  {:>11}  {:>6}\n",
                    "forward ms", "backward ms", "step %"
                );
            }
            for part in parts {
                text += &format!(
                    "{:width$}  {:>10.3}  {:>11.3}  {:>6.1}\n",
                    part.name,
                    part.forward_ms,
                    part.backward_ms,
                    100.0 * part.total() / whole
                );
            }
        }
        text
    }
}
