//! `lopper bench MODEL`.

mod beside;
mod gap;
mod layers;
mod stages;
mod training;

use super::{Common, LinearWeights, open_network};
use crate::latency::{Latency, Spread, test_images};
use beside::Beside;
use clap::Args;
use layers::Layers;
use lopper_engine::plan::{Plan, PlanOptions};
use lopper_engine::{Device, Error, Graph, Result, Tensor, memory};
use lopper_kernels::params::Dtype;
use serde::Serialize;
use stages::{Request, Stages};
use std::time::Duration;

/// Measure the latency of the inference plan or of a training step.
#[derive(Args)]
pub struct Bench {
    /// A model file, or an architecture with random weights
    network: String,
    /// Images per batch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Side of the square images in pixels [default: the model's, or 128]
    #[arg(long, value_parser = super::image_side)]
    size: Option<usize>,
    /// Fold the batch norms first
    #[arg(long)]
    fold: bool,
    /// Seconds to measure for; with --beside, at least these for each network
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Use only the direct convolution algorithm, which stores each weight once
    #[arg(long)]
    direct: bool,
    #[command(flatten)]
    weights: LinearWeights,
    /// Show every step of the plan: kernel and reason, time, GFLOP/s, bytes, and on the CPU shares of the machine's
    /// peaks and the binding limit; with --training, the forward and backward time of each layer
    #[arg(long)]
    layers: bool,
    /// Time whole training steps instead: forward, backward and Adam
    #[arg(long, conflicts_with_all = ["direct", "linear_weights"])]
    training: bool,
    /// Time ways of being sparse side by side instead: the network dense, masked, compacted, pruned, and with zeros of
    /// finer granularities, with SHARE of the groups of each layer masked; a network with masks is shown with its own
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.5",
        conflicts_with_all = ["layers", "training"])]
    stages: Option<f64>,
    /// Time these networks in turn with it instead, as the stages of a run are timed, so that their ratios hold although
    /// the machine is busy for a while
    #[arg(long, value_name = "NETWORK", num_args = 1..,
        conflicts_with_all = ["layers", "training", "stages", "direct", "linear_weights"])]
    beside: Vec<String>,
}

#[derive(Serialize)]
struct Timing {
    network: String,
    batch: usize,
    size: usize,
    folded: bool,
    hardware: String,
    #[serde(flatten)]
    latency: Spread,
    weight_bytes: usize,
    arena_bytes: usize,
    scratch_bytes: usize,
    /// Largest change of an output by rounded weights, as a fraction of the largest output.
    #[serde(skip_serializing_if = "Option::is_none")]
    rounding: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    layers: Option<Layers>,
}

impl Bench {
    pub fn run(&self, common: &Common) -> Result<()> {
        let (graph, shape) = self.open(&self.network)?;
        let device = common.device()?;
        let time = Duration::try_from_secs_f64(self.seconds).map_err(|e| {
            Error::invalid(format!("--seconds: expected at least 0, found {}: {e}", self.seconds))
        })?;
        if !self.beside.is_empty() {
            let beside = self.beside((graph, shape), time, common, &device)?;
            return common.print(&beside, || beside.text());
        }
        if self.training {
            graph.require_training(shape, training::MOMENTS, &device)?;
            let images = test_images(shape.iter().product());
            let images = Tensor::from_vec(&shape, images)?;
            let timing = training::measure(self, graph, images, time, &device)?;
            return common.print(&timing, || timing.text());
        }
        let options = PlanOptions {
            direct: self.direct,
            strict: common.strict,
            linear: self.weights.linear_weights,
            ..PlanOptions::default()
        };
        if let Some(sparsity) = self.stages {
            let images = test_images(shape.iter().product());
            let request = Request { network: &self.network, graph: &graph, shape, sparsity, options, time };
            let stages = Stages::measure(&request, &images, &device)?;
            return common.print(&stages, || stages.text());
        }
        let mut plan = Plan::with(&graph, shape, &device, options)?;
        let images = test_images(shape.iter().product());
        let latency = Latency::measure(&mut plan, &images, 5, time)?;
        let layers = self.layers.then(|| Layers::measure(&mut plan, &images, &device)).transpose()?;
        let rounding = if options.linear == Dtype::F32 {
            None
        } else {
            let exact = PlanOptions { linear: Dtype::F32, ..options };
            Some(largest_change(Plan::with(&graph, shape, &device, exact)?.run(&images)?, plan.run(&images)?))
        };
        let memory = plan.memory();
        let timing = Timing {
            network: self.network.clone(),
            batch: shape[0],
            size: shape[1],
            folded: self.fold,
            hardware: device.hardware(),
            latency: latency.spread(),
            weight_bytes: memory.weights,
            arena_bytes: memory.arena,
            scratch_bytes: memory.scratch,
            rounding,
            layers,
        };
        common.print(&timing, || text(&timing))
    }

    /// The latencies of a graph with images of this shape and of the networks beside it, in at least `time` for each.
    fn beside(
        &self,
        (graph, shape): (Graph, [usize; 4]),
        time: Duration,
        common: &Common,
        device: &Device,
    ) -> Result<Beside> {
        if common.strict {
            return Err(Error::invalid("--beside: times plans as a run does: expected no --strict"));
        }
        let others = self.beside.iter().map(|name| {
            let (graph, shape) = self.open(name)?;
            Ok((name.clone(), graph, shape))
        });
        let all = std::iter::once(Ok((self.network.clone(), graph, shape))).chain(others);
        Beside::measure(&all.collect::<Result<Vec<_>>>()?, time, device)
    }

    /// A network, and the shape `[N, H, W, C]` of its images.
    fn open(&self, network: &str) -> Result<(Graph, [usize; 4])> {
        let mut graph = open_network(network, None, self.size.unwrap_or(128), Some(0))?;
        if self.fold {
            graph = lopper_compress::fold::fold(&graph)?.graph;
        }
        let ([h, w, c], batch) = (graph.info.input, self.batch as usize);
        let [h, w] = self.size.map_or([h, w], |s| [s, s]);
        let shape = [batch, h, w, c];
        memory::require(format_args!("--batch {batch}: the images"), memory::bytes_of::<f32>(shape))?;
        Ok((graph, shape))
    }
}

/// `max |found − exact| / max |exact|`.
fn largest_change(exact: &[f32], found: &[f32]) -> f64 {
    let largest =
        |values: &mut dyn Iterator<Item = f32>| f64::from(values.fold(0.0, |max, v| v.abs().max(max)));
    let change = largest(&mut exact.iter().zip(found).map(|(a, b)| a - b));
    change / largest(&mut exact.iter().copied())
}

fn text(t: &Timing) -> String {
    let mut text = format!(
        "{} at {} px, batch {}, {}: median {:.3} ms, 10–90 % {:.3}–{:.3} ms, {} runs\nplan: {:.1} MB of weights, {:.1} MB of activations, {:.1} MB of scratch\n",
        t.network,
        t.size,
        t.batch,
        t.hardware,
        t.latency.median_ms,
        t.latency.p10_ms,
        t.latency.p90_ms,
        t.latency.runs,
        t.weight_bytes as f64 / 1e6,
        t.arena_bytes as f64 / 1e6,
        t.scratch_bytes as f64 / 1e6
    );
    if let Some(rounding) = t.rounding {
        text += &format!(
            "linear weights as bf16: outputs change by at most {:.2e} of the largest output\n",
            rounding
        );
    }
    if let Some(layers) = &t.layers {
        text += &layers.text();
    }
    text
}
