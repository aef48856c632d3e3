//! `lopper bench MODEL --stages`: ways of being sparse side by side, timed in turn.
//!
//! ```text
//!   network ─┬─ dense                       a network with masks: dense ignores them, and the masks stay as they are
//!            ├─ masked by filters ─┬─ compacted
//!            │                     └─ pruned
//!            └─ masked by weights, by blocks, …
//! ```
//!
//! The gap between multiply-accumulates and time is then explained layer by layer.

use super::gap::{Gap, LayerCost};
use lopper_compress::{CompactConfig, Context, Granularity, PruneConfig, SparsifyConfig, compact, sparsify};
use lopper_engine::plan::{Plan, PlanOptions};
use lopper_engine::{Device, Error, Graph, Result};
use serde::Serialize;
use std::time::{Duration, Instant};

/// The stages of a network, and the layers of each.
#[derive(Serialize)]
pub struct Stages {
    network: String,
    batch: usize,
    size: usize,
    hardware: String,
    /// Share of groups that the stages mask; absent if the network brings its masks.
    #[serde(skip_serializing_if = "Option::is_none")]
    sparsity: Option<f64>,
    stages: Vec<Stage>,
    layers: Vec<Gap>,
}

/// One stage, as a whole; ratios are to the dense stage.
#[derive(Serialize)]
struct Stage {
    stage: String,
    median_ms: f64,
    p10_ms: f64,
    p90_ms: f64,
    time_ratio: f64,
    macs_ratio: f64,
    products_ratio: f64,
    bytes_ratio: f64,
}

/// The granularities of the stages besides filters.
const GRANULARITIES: [&str; 5] = ["weight", "block:2", "block:8", "kernel_block:8", "input_channel_block:4"];

const ROUNDS: u32 = 5;

/// What to measure.
pub struct Request<'a> {
    pub network: &'a str,
    pub graph: &'a Graph,
    /// `[N, H, W, C]`.
    pub shape: [usize; 4],
    pub sparsity: f64,
    pub options: PlanOptions,
    pub time: Duration,
}

/// A stage with its plan and its times in seconds.
struct Running {
    name: String,
    costs: Vec<LayerCost>,
    plan: Plan,
    whole: Vec<f64>,
    steps: Vec<Vec<f64>>,
}

impl Stages {
    /// Plans every stage, then times them in turn.
    ///
    /// # Errors
    /// If a stage cannot be made or planned.
    pub fn measure(request: &Request, images: &[f32], device: &Device) -> Result<Self> {
        let Request { graph, shape, sparsity, .. } = *request;
        if !(0.0..1.0).contains(&sparsity) {
            return Err(Error::invalid(format!("--stages: expected a share in [0, 1), found {sparsity}")));
        }
        let masked = graph.params().any(|(_, param)| param.mask().is_some());
        let stages = if masked { of_masks(graph)? } else { of_sparsity(graph, sparsity)? };
        let start = |(name, graph): (String, Graph)| {
            let plan = Plan::with(&graph, shape, device, request.options)?;
            let steps = vec![Vec::new(); plan.steps().len()];
            let costs = plan.steps().iter().map(|step| LayerCost::new(step, &graph)).collect();
            Ok(Running { name, costs, plan, whole: Vec::new(), steps })
        };
        let mut running: Vec<Running> = stages.into_iter().map(start).collect::<Result<_>>()?;
        for _ in 0..ROUNDS {
            for stage in &mut running {
                stage.round(images, request.time / ROUNDS)?;
            }
        }
        Ok(Self::new(request, !masked, &running, device))
    }

    fn new(request: &Request, made: bool, running: &[Running], device: &Device) -> Self {
        let peaks = match device {
            Device::Cpu(cpu) => Some([cpu.fma_peak(), cpu.read_peak()]),
            Device::Cuda(_) => None,
        };
        let layers = running[1..].iter().flat_map(|stage| {
            let steps = stage.costs.iter().zip(&stage.steps);
            steps.filter_map(|(cost, times)| {
                let at = running[0].costs.iter().position(|dense| dense.layer == cost.layer)?;
                let dense = (&running[0].costs[at], median(&running[0].steps[at]));
                Gap::new(&stage.name, dense, (cost, median(times)), peaks)
            })
        });
        Self {
            network: request.network.into(),
            batch: request.shape[0],
            size: request.shape[1],
            hardware: device.hardware(),
            sparsity: made.then_some(request.sparsity),
            stages: running.iter().map(|stage| stage.row(&running[0])).collect(),
            layers: layers.collect(),
        }
    }

    /// Formats the stages, then their layers.
    pub fn text(&self) -> String {
        let masks = self.sparsity.map_or("its own masks".into(), |share| {
            format!("{:.0} % of the groups of each layer masked", 100.0 * share)
        });
        let mut text = format!(
            "{} at {} px, batch {}, {}, {masks}; ratios are to dense\n\n",
            self.network, self.size, self.batch, self.hardware
        );
        let width = self.stages.iter().map(|s| s.stage.len()).max().unwrap_or(0).max(5);
        text += &format!(
            "{:width$}  {:>9}  {:>19}  {:>6}  {:>6}  {:>8}  {:>6}\n",
            "stage", "ms", "10–90 %", "time", "MACs", "products", "bytes"
        );
        for s in &self.stages {
            let spread = format!("{:.3}–{:.3}", s.p10_ms, s.p90_ms);
            text += &format!(
                "{:width$}  {:>9.3}  {spread:>19}  {:>6.2}  {:>6.2}  {:>8.2}  {:>6.2}\n",
                s.stage, s.median_ms, s.time_ratio, s.macs_ratio, s.products_ratio, s.bytes_ratio
            );
        }
        text.push('\n');
        text + &Gap::table(&self.layers)
    }
}

impl Running {
    /// Runs the plan as a whole for `time`, then step by step.
    fn round(&mut self, images: &[f32], time: Duration) -> Result<()> {
        const RUNS_BY_STEP: usize = 3;
        self.plan.run(images)?;
        let begin = Instant::now();
        loop {
            let start = Instant::now();
            self.plan.run(images)?;
            self.whole.push(start.elapsed().as_secs_f64());
            if begin.elapsed() >= time {
                break;
            }
        }
        for _ in 0..RUNS_BY_STEP {
            let times = self.plan.run_timed(images)?;
            self.steps.iter_mut().zip(times).for_each(|(all, time)| all.push(time.as_secs_f64()));
        }
        Ok(())
    }

    fn row(&self, dense: &Self) -> Stage {
        let sum = |stage: &Self, of: fn(&LayerCost) -> u64| stage.costs.iter().map(of).sum::<u64>() as f64;
        let ratio = |of| sum(self, of) / sum(dense, of).max(1.0);
        let [p10, p50, p90] = [0.1, 0.5, 0.9].map(|share| 1e3 * quantile(&self.whole, share));
        Stage {
            stage: self.name.clone(),
            median_ms: p50,
            p10_ms: p10,
            p90_ms: p90,
            time_ratio: p50 / (1e3 * median(&dense.whole)),
            macs_ratio: ratio(|cost| cost.live_macs),
            products_ratio: ratio(|cost| cost.products),
            bytes_ratio: ratio(|cost| cost.bytes),
        }
    }
}

/// The stages of a network with masks.
fn of_masks(graph: &Graph) -> Result<Vec<(String, Graph)>> {
    let mut dense = graph.clone();
    for (_, param) in dense.params_mut().filter(|(_, param)| param.mask().is_some()) {
        // The weights stay zero, but a plan skips only what a mask guarantees.
        param.set_mask(None)?;
    }
    stages(dense, graph.clone())
}

/// Stages that mask `sparsity` of the groups of each layer, by magnitude.
fn of_sparsity(graph: &Graph, sparsity: f64) -> Result<Vec<(String, Graph)>> {
    let mask = |granularity: Granularity| -> Result<Graph> {
        let config = SparsifyConfig { granularity, context: Context::Local, ..SparsifyConfig::new(sparsity) };
        Ok(sparsify(graph, &config, None)?.graph)
    };
    let mut stages = stages(graph.clone(), mask(Granularity::FILTER)?)?;
    for name in GRANULARITIES {
        // A granularity that divides no layer of this network has no stage.
        if let Some(masked) = name.parse::<Granularity>().ok().and_then(|granularity| mask(granularity).ok())
        {
            stages.push((name.into(), masked));
        }
    }
    Ok(stages)
}

fn stages(dense: Graph, masked: Graph) -> Result<Vec<(String, Graph)>> {
    let compacted = compact(&masked, &CompactConfig::default())?.graph;
    let pruned = PruneConfig::default().apply(&masked, None)?.graph;
    let named = [("dense", dense), ("masked", masked), ("compacted", compacted), ("pruned", pruned)];
    Ok(named.map(|(name, graph)| (name.to_string(), graph)).to_vec())
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[(share * (values.len() - 1) as f64).round() as usize]
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
