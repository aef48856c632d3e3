//! `lopper bench MODEL --layers`: the cost of each step of a plan and, on the CPU, what limits it.

use lopper_engine::plan::{LiveChannels, Plan, Step};
use lopper_engine::{Device, Result};
use serde::Serialize;

/// Steps of a plan and, on the CPU, the peaks of the machine, measured in the same process.
#[derive(Serialize)]
pub struct Layers {
    #[serde(flatten)]
    peaks: Option<Peaks>,
    layers: Vec<Layer>,
}

/// Peak rates of the machine.
#[derive(Serialize)]
struct Peaks {
    fma_peak_gflops: f64,
    read_peak_gb_per_s: f64,
}

#[derive(Serialize)]
struct Layer {
    layer: String,
    kernel: &'static str,
    fused: Vec<String>,
    /// Multiply-accumulates by definition; `products` are those that the kernel computes.
    macs: u64,
    products: u64,
    bytes: u64,
    median_ms: f64,
    /// Rate in terms of `macs`.
    gflops: f64,
    #[serde(flatten)]
    reached: Option<Reached>,
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Channels>,
}

/// The channels that a step computes, where a mask leaves out some of its layer's.
#[derive(Serialize)]
struct Channels {
    inputs: usize,
    all_inputs: usize,
    outputs: usize,
    all_outputs: usize,
    why: String,
    #[serde(skip)]
    text: String,
}

/// Share of each peak that a step reaches, counting its kernel's products and bytes.
#[derive(Serialize)]
struct Reached {
    fma_percent: f64,
    read_percent: f64,
    limit: &'static str,
}

impl Layers {
    /// Times every step of `plan` over several runs.
    pub fn measure(plan: &mut Plan, images: &[f32], device: &Device) -> Result<Self> {
        const RUNS: usize = 15;
        let peaks = match device {
            Device::Cpu(cpu) => {
                Some(Peaks { fma_peak_gflops: cpu.fma_peak(), read_peak_gb_per_s: cpu.read_peak() })
            }
            Device::Cuda(_) => None,
        };
        let mut times = vec![Vec::with_capacity(RUNS); plan.steps().len()];
        for _ in 0..RUNS {
            for (all, time) in times.iter_mut().zip(plan.run_timed(images)?) {
                all.push(time.as_secs_f64());
            }
        }
        let layer = |(step, all): (&Step, &mut Vec<f64>)| {
            all.sort_by(f64::total_cmp);
            Layer::new(step, all[RUNS / 2].max(1e-9), peaks.as_ref())
        };
        let layers = plan.steps().iter().zip(&mut times).map(layer).collect();
        Ok(Self { peaks, layers })
    }

    /// Formats the steps as a table.
    pub fn text(&self) -> String {
        let width = |of: fn(&Layer) -> usize| self.layers.iter().map(of).max().unwrap_or(0).max(6);
        let (name, kernel) = (width(|l| l.layer.len()), width(|l| l.kernel.len()));
        let (peaks, shares) = match &self.peaks {
            None => (String::new(), String::new()),
            Some(Peaks { fma_peak_gflops, read_peak_gb_per_s }) => (
                format!(
                    "peaks, as just measured: FMA {fma_peak_gflops:.0} GFLOP/s, reading memory {read_peak_gb_per_s:.1} GB/s\n"
                ),
                format!("{:>6}  {:>6}  limit     ", "FMA %", "read %"),
            ),
        };
        let mut text = format!(
            "{peaks}\n{:name$}  {:kernel$}  {:>8}  {:>9}  {:>8}  {:>7}  {shares}why; fused\n",
            "layer", "kernel", "ms", "MMACs", "GFLOP/s", "MB"
        );
        for l in &self.layers {
            let channels = l.channels.as_ref().map(|channels| channels.text.as_str());
            let notes: Vec<&str> = channels
                .into_iter()
                .chain(l.why.as_deref())
                .chain(l.fused.iter().map(String::as_str))
                .collect();
            let shares = l.reached.as_ref().map_or(String::new(), |r| {
                format!("{:>6.1}  {:>6.1}  {:8}  ", r.fma_percent, r.read_percent, r.limit)
            });
            text += &format!(
                "{:name$}  {:kernel$}  {:>8.3}  {:>9.1}  {:>8.1}  {:>7.2}  {shares}{}\n",
                l.layer,
                l.kernel,
                l.median_ms,
                1e-6 * l.macs as f64,
                l.gflops,
                1e-6 * l.bytes as f64,
                notes.join("; ")
            );
        }
        text
    }
}

impl Layer {
    fn new(step: &Step, seconds: f64, peaks: Option<&Peaks>) -> Self {
        Self {
            layer: step.name.clone(),
            kernel: step.kernel,
            fused: step.fused.clone(),
            macs: step.macs,
            products: step.products,
            bytes: step.bytes,
            median_ms: 1e3 * seconds,
            gflops: 2e-9 * step.macs as f64 / seconds,
            reached: peaks.map(|peaks| peaks.reached(step, seconds)),
            why: step.why.clone(),
            channels: step.channels.as_ref().map(Channels::new),
        }
    }
}

impl Channels {
    fn new(live: &LiveChannels) -> Self {
        let LiveChannels { inputs, all_inputs, outputs, all_outputs, ref why } = *live;
        Self { inputs, all_inputs, outputs, all_outputs, why: why.clone(), text: live.to_string() }
    }
}

impl Peaks {
    fn reached(&self, step: &Step, seconds: f64) -> Reached {
        let fma_percent = 2e-7 * step.products as f64 / seconds / self.fma_peak_gflops;
        let read_percent = 1e-7 * step.bytes as f64 / seconds / self.read_peak_gb_per_s;
        // Neither limit binds a step that is far from both: it is too short, or waits for a cache.
        let limit = match (fma_percent, read_percent) {
            (fma, read) if fma.max(read) < 50.0 => "neither",
            (fma, read) if fma >= read => "products",
            _ => "memory",
        };
        Reached { fma_percent, read_percent, limit }
    }
}
