//! `lopper bench MODEL --layers`: what each step of a plan takes, and what holds it up.

use engine::plan::{Plan, Step};
use engine::{Device, Error, Result};
use serde::Serialize;

/// The steps of a plan beside the limits of the machine, measured in the same process.
#[derive(Serialize)]
pub struct Layers {
    fma_peak_gflops: f64,
    read_peak_gb_per_s: f64,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    layer: String,
    kernel: &'static str,
    fused: Vec<String>,
    /// Of the definition, and those that the kernel takes.
    macs: u64,
    products: u64,
    bytes: u64,
    median_ms: f64,
    /// Of the definition.
    gflops: f64,
    /// How much of each peak the step reaches, with the products and bytes that its kernel takes.
    fma_percent: f64,
    read_percent: f64,
    limit: &'static str,
    why: Option<String>,
}

impl Layers {
    /// Times every step of `plan` over some runs.
    pub fn measure(plan: &mut Plan, images: &[f32], device: &Device) -> Result<Self> {
        const RUNS: usize = 15;
        let Device::Cpu(cpu) = device else {
            return Err(Error::invalid("--layers: times the steps of a plan on the CPU"));
        };
        let (fma_peak, read_peak) = (cpu.fma_peak(), cpu.read_peak());
        let mut times = vec![Vec::with_capacity(RUNS); plan.steps().len()];
        for _ in 0..RUNS {
            for (all, time) in times.iter_mut().zip(plan.run_timed(images)?) {
                all.push(time.as_secs_f64());
            }
        }
        let layer = |(step, all): (&Step, &mut Vec<f64>)| {
            all.sort_by(f64::total_cmp);
            Layer::new(step, all[RUNS / 2].max(1e-9), fma_peak, read_peak)
        };
        let layers = plan.steps().iter().zip(&mut times).map(layer).collect();
        Ok(Self { fma_peak_gflops: fma_peak, read_peak_gb_per_s: read_peak, layers })
    }

    /// A table of them.
    pub fn text(&self) -> String {
        let width = |of: fn(&Layer) -> usize| self.layers.iter().map(of).max().unwrap_or(0).max(6);
        let (name, kernel) = (width(|l| l.layer.len()), width(|l| l.kernel.len()));
        let mut text = format!(
            "peaks, measured now: FMA {:.0} GFLOP/s, reading memory {:.1} GB/s\n\n\
             {:name$}  {:kernel$}  {:>8}  {:>9}  {:>8}  {:>7}  {:>6}  {:>6}  limit     why; fused\n",
            self.fma_peak_gflops,
            self.read_peak_gb_per_s,
            "layer",
            "kernel",
            "ms",
            "MMACs",
            "GFLOP/s",
            "MB",
            "FMA %",
            "read %"
        );
        for l in &self.layers {
            let notes: Vec<&str> =
                l.why.as_deref().into_iter().chain(l.fused.iter().map(String::as_str)).collect();
            text += &format!(
                "{:name$}  {:kernel$}  {:>8.3}  {:>9.1}  {:>8.1}  {:>7.2}  {:>6.1}  {:>6.1}  {:8}  {}\n",
                l.layer,
                l.kernel,
                l.median_ms,
                1e-6 * l.macs as f64,
                l.gflops,
                1e-6 * l.bytes as f64,
                l.fma_percent,
                l.read_percent,
                l.limit,
                notes.join("; ")
            );
        }
        text
    }
}

impl Layer {
    fn new(step: &Step, seconds: f64, fma_peak: f64, read_peak: f64) -> Self {
        let fma_percent = 2e-7 * step.products as f64 / seconds / fma_peak;
        let read_percent = 1e-7 * step.bytes as f64 / seconds / read_peak;
        // Neither binds a step that is far from both: it is too short, or waits for a cache.
        let limit = match (fma_percent, read_percent) {
            (fma, read) if fma.max(read) < 50.0 => "neither",
            (fma, read) if fma >= read => "products",
            _ => "memory",
        };
        Self {
            layer: step.name.clone(),
            kernel: step.kernel,
            fused: step.fused.clone(),
            macs: step.macs,
            products: step.products,
            bytes: step.bytes,
            median_ms: 1e3 * seconds,
            gflops: 2e-9 * step.macs as f64 / seconds,
            fma_percent,
            read_percent,
            limit,
            why: step.why.clone(),
        }
    }
}
