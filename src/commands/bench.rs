//! `lopper bench MODEL`.

use super::{Common, open_network};
use crate::latency::{Latency, test_images};
use clap::Args;
use engine::plan::Plan;
use engine::{Device, Error, Result};
use serde::Serialize;
use std::time::Duration;

/// Latency of the inference plan.
#[derive(Args)]
pub struct Bench {
    /// A model file, or an architecture with random weights
    network: String,
    /// Images in a batch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Side of the square images, pixels [default: the model's, or 128]
    #[arg(long, value_parser = super::image_side)]
    size: Option<usize>,
    /// Fold the batch norms first
    #[arg(long)]
    fold: bool,
    /// Seconds to measure for
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Show every step of the plan: kernel, time, GFLOP/s, share of the FMA peak measured in this run
    #[arg(long)]
    layers: bool,
}

#[derive(Serialize)]
struct Timing {
    network: String,
    batch: usize,
    size: usize,
    folded: bool,
    threads: usize,
    isa: String,
    median_ms: f64,
    p10_ms: f64,
    p90_ms: f64,
    runs: usize,
    weight_bytes: usize,
    arena_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    fma_peak_gflops: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<LayerTiming>,
}

#[derive(Serialize)]
struct LayerTiming {
    layer: String,
    kernel: String,
    fused: Vec<String>,
    macs: u64,
    bytes: u64,
    median_ms: f64,
    gflops: f64,
}

impl Bench {
    pub fn run(&self, common: &Common) -> Result<()> {
        let mut graph = open_network(&self.network, None, self.size.unwrap_or(128), Some(0))?;
        if self.fold {
            graph = compress::fold::fold(&graph)?.graph;
        }
        let [h, w, c] = graph.info.input;
        let [h, w] = self.size.map_or([h, w], |s| [s, s]);
        let batch = self.batch as usize;
        let device = common.device()?;
        let mut plan = Plan::new(&graph, [batch, h, w, c], &device)?;
        let images = test_images(batch * h * w * c);
        let time = Duration::try_from_secs_f64(self.seconds).map_err(|e| {
            Error::invalid(format!("--seconds: expected at least 0, found {}: {e}", self.seconds))
        })?;
        let latency = Latency::measure(&mut plan, &images, 5, time)?;
        let layers = if self.layers { layer_timings(&mut plan, &images)? } else { Vec::new() };
        let memory = plan.memory();
        let Device::Cpu(cpu) = &device;
        let timing = Timing {
            network: self.network.clone(),
            batch,
            size: h,
            folded: self.fold,
            threads: cpu.thread_count(),
            isa: cpu.isa().to_string(),
            median_ms: latency.median(),
            p10_ms: latency.quantile(0.1),
            p90_ms: latency.quantile(0.9),
            runs: latency.runs(),
            weight_bytes: memory.weights,
            arena_bytes: memory.arena,
            fma_peak_gflops: self.layers.then(|| cpu.fma_peak()),
            layers,
        };
        common.print(&timing, || text(&timing))
    }
}

/// The median time of every step of the plan over some runs.
fn layer_timings(plan: &mut Plan, images: &[f32]) -> Result<Vec<LayerTiming>> {
    const RUNS: usize = 15;
    let mut times = vec![Vec::with_capacity(RUNS); plan.steps().len()];
    for _ in 0..RUNS {
        for (all, time) in times.iter_mut().zip(plan.run_timed(images)?) {
            all.push(time.as_secs_f64());
        }
    }
    let timing = |(step, all): (&engine::plan::Step, &mut Vec<f64>)| {
        all.sort_by(f64::total_cmp);
        let median = all[RUNS / 2];
        LayerTiming {
            layer: step.name.clone(),
            kernel: step.kernel.to_string(),
            fused: step.fused.clone(),
            macs: step.macs,
            bytes: step.bytes,
            median_ms: 1e3 * median,
            gflops: 2e-9 * step.macs as f64 / median.max(1e-9),
        }
    };
    Ok(plan.steps().iter().zip(&mut times).map(timing).collect())
}

fn text(t: &Timing) -> String {
    let mut text = format!(
        "{} at {} px, batch {}, {} threads, {}: median {:.3} ms, 10–90 % {:.3}–{:.3} ms, {} runs\nplan: {:.1} MB of weights, {:.1} MB of activations\n",
        t.network,
        t.size,
        t.batch,
        t.threads,
        t.isa,
        t.median_ms,
        t.p10_ms,
        t.p90_ms,
        t.runs,
        t.weight_bytes as f64 / 1e6,
        t.arena_bytes as f64 / 1e6
    );
    let Some(peak) = t.fma_peak_gflops else { return text };
    let width = t.layers.iter().map(|l| l.layer.len()).max().unwrap_or(0).max(5);
    let kernel = t.layers.iter().map(|l| l.kernel.len()).max().unwrap_or(0).max(6);
    text += &format!("FMA peak {peak:.0} GFLOP/s, measured now\n\n");
    text += &format!(
        "{:width$}  {:kernel$}  {:>9}  {:>9}  {:>9}  {:>6}  fused\n",
        "layer", "kernel", "ms", "MMACs", "GFLOP/s", "peak %"
    );
    for l in &t.layers {
        let (macs, share) = (l.macs as f64 / 1e6, 100.0 * l.gflops / peak);
        text += &format!(
            "{:width$}  {:kernel$}  {:>9.3}  {macs:>9.1}  {:>9.1}  {share:>6.1}  {}\n",
            l.layer,
            l.kernel,
            l.median_ms,
            l.gflops,
            l.fused.join(", ")
        );
    }
    text
}
