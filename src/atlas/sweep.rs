//! The sweep: every cell, one after the other.

use super::check::Samples;
use super::computation::Computation;
use super::cpu::OnCpu;
use super::cuda::OnCuda;
use super::layer::{Layer, Operation};
use super::problem::{Data, Problem};
use super::record::{Cell, Row, round};
use super::timing::Rounds;
use super::way::{Packed, Way};
use lopper_engine::{Device, Result, memory};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::Cpu;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The layers.
    pub layers: Vec<Layer>,
    /// The batch sizes.
    pub batches: Vec<usize>,
    /// Shares of zero weights, in percent.
    pub sparsities: Vec<u32>,
    /// The ways, besides the dense ones.
    pub ways: Vec<Way>,
    /// The time to spend.
    pub limits: Limits,
}

/// The time that a sweep spends on measuring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Rounds per cell.
    pub rounds: usize,
    /// Time for each way of a cell.
    pub way: Duration,
    /// Time for the whole sweep, checks and packing included, if `way` must shrink for it. A way always runs twice per
    /// round, so that a sweep may take longer.
    pub total: Option<Duration>,
}

/// The cell that is about to be measured.
pub struct Progress<'a> {
    /// Its number, from 0.
    pub cell: usize,
    /// The number of cells.
    pub cells: usize,
    /// Its layer.
    pub layer: &'a str,
    /// Layer, batch, threads and sparsity, for messages.
    pub what: String,
    /// The rows of the cells before it.
    pub rows: &'a [Row],
}

/// A computation with what is reported about it.
struct Entry<'a> {
    way: Way,
    packed: Packed,
    samples: &'a Samples,
    zeros: f64,
    live_macs: u64,
    run: Box<dyn Computation + 'a>,
}

impl Sweep {
    /// Measures every cell on every device, except those of `known`, the rows of an earlier sweep that was interrupted.
    /// `before` is called before each cell that is measured, with its position.
    ///
    /// # Errors
    /// If a result is wrong, memory does not suffice, a device fails, or `before` returns an error, which ends the
    /// sweep.
    pub fn run(
        &self,
        devices: &[Device],
        known: Vec<Row>,
        mut before: impl FnMut(&Progress) -> Result<()>,
    ) -> Result<Vec<Row>> {
        self.require_memory()?;
        let mut measured: HashMap<Cell, Vec<Row>> = HashMap::new();
        known.into_iter().for_each(|row| measured.entry(row.cell()).or_default().push(row));
        let cells = self.layers.len() * self.batches.len() * devices.len() * self.sparsities.len();
        let (mut rows, mut cell, begin) = (Vec::new(), 0, Instant::now());
        for layer in &self.layers {
            for &batch in &self.batches {
                let data = Data::new(layer.operation.of_batch(batch));
                for device in devices {
                    for &sparsity in &self.sparsities {
                        let number = cell;
                        cell += 1;
                        let (label, threads) = label(device);
                        let key = (layer.name.clone(), label, batch, threads, sparsity);
                        if let Some(known) = measured.remove(&key) {
                            rows.extend(known);
                            continue;
                        }
                        let what = format!(
                            "{} ({}), batch {batch}, {}, {sparsity} % zeros",
                            layer.name,
                            layer.operation,
                            device.hardware()
                        );
                        let name = &layer.name;
                        before(&Progress {
                            cell: number,
                            cells,
                            layer: name,
                            what: what.clone(),
                            rows: &rows,
                        })?;
                        let left = self
                            .limits
                            .total
                            .map(|total| total.saturating_sub(begin.elapsed()) / (cells - number) as u32);
                        let cell_rows = self.cell(device, &data, sparsity, &what, left)?;
                        rows.extend(cell_rows.into_iter().map(|row| Row { layer: name.clone(), ..row }));
                    }
                }
            }
        }
        Ok(rows)
    }

    /// Checks that the largest layer fits in memory with all its ways.
    fn require_memory(&self) -> Result<()> {
        let batch = self.batches.iter().copied().max().unwrap_or(1);
        for layer in &self.layers {
            let g = layer.operation.of_batch(batch).as_conv2d();
            let [x, w, y] = [g.x_shape(), g.w_shape(), g.y_shape()].map(memory::bytes_of::<f32>);
            // A way owns a masked weight and a packed one, which Winograd's F(4×4) makes four times as large, and tiles
            // round up. The input exists twice, once pruned, and borrowed memory is at most its transform.
            let winograd = if (g.kh, g.kw) == (3, 3) { 5 } else { 2 };
            let ways = (self.ways.len() + Way::DENSE.len()) as u64;
            let weights = w.saturating_mul(ways.saturating_mul(1 + winograd));
            let values = x.saturating_add(y).saturating_mul(6);
            memory::require(
                format_args!("layer {}: its values and the weights of {ways} ways", layer.name),
                weights.saturating_add(values),
            )?;
        }
        Ok(())
    }

    /// Checks, then times all ways of a cell; `left` is the time for all of it, if limited.
    fn cell(
        &self,
        device: &Device,
        data: &Data,
        sparsity: u32,
        what: &str,
        left: Option<Duration>,
    ) -> Result<Vec<Row>> {
        let begin = Instant::now();
        let share = f64::from(sparsity) / 100.0;
        let dense = Problem::new(data, Way::DENSE[0], share).expect("a dense problem always exists");
        let problem = |&way: &Way| Problem::new(data, way, share).map(|problem| (way, problem));
        let problems: Vec<(Way, Problem)> = self.ways.iter().filter_map(problem).collect();
        let mut entries = match device {
            Device::Cpu(cpu) => on_cpu(cpu, data.operation, &dense, &problems),
            Device::Cuda(cuda) => {
                let mut entries = Vec::new();
                for (way, problem) in
                    [(Way::DENSE[0], &dense)].into_iter().chain(problems.iter().map(|(w, p)| (*w, p)))
                {
                    if let Some(run) = OnCuda::new(cuda, problem)? {
                        entries.push(Entry::new(way, Packed::Chosen, problem, Box::new(run)));
                    }
                }
                entries
            }
        };
        for entry in &mut entries {
            let bound = if entry.run.kernel().contains("winograd") { 8.0 } else { 2.0 };
            entry.samples.check(&format!("{what}, {}", entry.way), bound, &entry.run.result()?)?;
        }
        let time = left.map_or(self.limits.way, |left| {
            let rest = left.saturating_sub(begin.elapsed()) / entries.len().max(1) as u32;
            rest.min(self.limits.way)
        });
        let mut peaks = Vec::new();
        let mut runs: Vec<&mut dyn Computation> =
            entries.iter_mut().map(|entry| &mut *entry.run as _).collect();
        let times = Rounds::measure(&mut runs, self.limits.rounds, time, || {
            if let Device::Cpu(cpu) = device {
                peaks.push(cpu.fma_peak());
            }
            Ok(())
        })?;
        peaks.sort_by(f64::total_cmp);
        let peak = peaks.get(peaks.len() / 2).map(|&peak| round(peak));
        let place = Place { device, operation: data.operation, sparsity, peak };
        Ok(place.rows(&entries, &times))
    }
}

/// Packs all ways of a cell for the CPU. The algorithm that the plan chooses is not timed a second time.
fn on_cpu<'a>(
    cpu: &'a Cpu,
    operation: Operation,
    dense: &'a Problem<'a>,
    problems: &'a [(Way, Problem<'a>)],
) -> Vec<Entry<'a>> {
    let out = Arc::new(Mutex::new(Buffer::zeros(operation.as_conv2d().y_len())));
    let chosen = OnCpu::new(cpu, dense, None, &out).algorithm();
    let mut entries = Vec::new();
    for way in Way::DENSE {
        let run = OnCpu::new(cpu, dense, way.forced(), &out);
        let packed = if run.algorithm() == chosen { Packed::Chosen } else { Packed::Forced };
        if Way::Dense(run.algorithm()) == way {
            entries.push(Entry::new(way, packed, dense, Box::new(run)));
        }
    }
    for (way, problem) in problems {
        let run = OnCpu::new(cpu, problem, None, &out);
        let chosen = run.algorithm();
        entries.push(Entry::new(*way, Packed::Chosen, problem, Box::new(run)));
        if let Some(forced) = way.forced().filter(|&forced| forced != chosen && !operation.is_linear()) {
            let run = OnCpu::new(cpu, problem, Some(forced), &out);
            if run.algorithm() == forced {
                entries.push(Entry::new(*way, Packed::Forced, problem, Box::new(run)));
            }
        }
    }
    entries
}

impl<'a> Entry<'a> {
    fn new(way: Way, packed: Packed, problem: &'a Problem, run: Box<dyn Computation + 'a>) -> Self {
        let dense = problem.operation.as_conv2d().macs() as f64;
        // A pruned problem is narrower already, and its pattern is dense.
        let live = if problem.compact.is_some() { 1.0 - problem.zeros } else { problem.pattern.density() };
        let live_macs = (dense * live).round() as u64;
        Self { way, packed, samples: &problem.samples, zeros: problem.zeros, live_macs, run }
    }
}

/// The names of a device and of its number of threads in a row.
fn label(device: &Device) -> (String, usize) {
    match device {
        Device::Cpu(cpu) => ("cpu".to_string(), cpu.thread_count()),
        Device::Cuda(cuda) => (format!("{} {}", cuda.name(), cuda.arch()), 0),
    }
}

/// What all rows of a cell have in common.
struct Place<'a> {
    device: &'a Device,
    operation: Operation,
    sparsity: u32,
    peak: Option<f64>,
}

impl Place<'_> {
    fn rows(&self, entries: &[Entry], times: &Rounds) -> Vec<Row> {
        let g = self.operation.as_conv2d();
        let dense = entries.iter().enumerate().filter(|(_, entry)| matches!(entry.way, Way::Dense(_)));
        let median = |i: &usize| times.seconds(*i).median;
        let best = dense.map(|(i, _)| i).min_by(|a, b| median(a).total_cmp(&median(b))).unwrap_or(0);
        let (device, threads) = label(self.device);
        let batch = match self.operation {
            Operation::Conv2d(g) => g.n,
            Operation::Linear(g) => g.n,
        };
        let row = |(i, entry): (usize, &Entry)| {
            let [ms, direct, of_best] = [times.seconds(i), times.speedup(i, 0), times.speedup(i, best)];
            let rounded = |scale: f64, value: f64| round(scale * value);
            Row {
                layer: String::new(),
                shape: self.operation.to_string(),
                device: device.clone(),
                batch,
                threads,
                sparsity: self.sparsity,
                zeros: round(100.0 * entry.zeros),
                way: entry.way.to_string(),
                packed: entry.packed.to_string(),
                kernel: entry.run.kernel().to_string(),
                median_ms: rounded(1e3, ms.median),
                low_ms: rounded(1e3, ms.low),
                high_ms: rounded(1e3, ms.high),
                over_direct: rounded(1.0, direct.median),
                over_direct_low: rounded(1.0, direct.low),
                over_direct_high: rounded(1.0, direct.high),
                over_best: rounded(1.0, of_best.median),
                over_best_low: rounded(1.0, of_best.low),
                over_best_high: rounded(1.0, of_best.high),
                macs: g.macs(),
                live_macs: entry.live_macs,
                products: entry.run.products(),
                weight_bytes: entry.run.bytes(),
                peak_gflops: self.peak,
            }
        };
        entries.iter().enumerate().map(row).collect()
    }
}
