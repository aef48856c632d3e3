//! What dead filters buy on VGG16's convolutions at 128 px: dense, masked, compacted and pruned.
//!
//!     cargo bench --bench conv2d -- [--quick] [--batch 1,16] [--threads N] [--csv FILE]
//!
//! - *dense* computes every filter, dead or not, by the algorithm that packing chooses: the baseline;
//! - *direct* is dense by the direct algorithm;
//! - *masked* computes live filters and stores them among the dead ones' constants;
//! - *compacted* also leaves out the input channels that the layer before no longer fills; widths stay;
//! - *pruned* is what remains when the dead channels are gone from the tensors.
//!
//! The same share of filters is dead in the layer and in the one before it. Each result is checked against the
//! dense one before it is timed. GFLOP/s count the operations that the variant performs; the share is of the peak
//! of fused multiply-adds, measured beside each layer, because clocks drift.

use clap::Parser;
use kernels::buffer::Buffer;
use kernels::cpu::{self, Cpu, Epilogue, PackedCompact, PackedConv2d, PackedMasked};
use kernels::params::CompactIndex;
use kernels::shapes::Conv2d;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// VGG16's distinct convolutions at 128 px: image size, input channels, filters.
const LAYERS: [(&str, usize, usize, usize); 9] = [
    ("conv1_1", 128, 3, 64),
    ("conv1_2", 128, 64, 64),
    ("conv2_1", 64, 64, 128),
    ("conv2_2", 64, 128, 128),
    ("conv3_1", 32, 128, 256),
    ("conv3_2", 32, 256, 256),
    ("conv4_1", 16, 256, 512),
    ("conv4_2", 16, 512, 512),
    ("conv5_1", 8, 512, 512),
];

/// Percent of filters that are dead.
const DEAD: [usize; 3] = [0, 50, 75];

/// Benchmark of dense, masked, compacted and pruned convolutions.
#[derive(Parser)]
struct Arguments {
    /// Time each case for a few milliseconds only.
    #[arg(long)]
    quick: bool,
    /// Batch sizes.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16], value_parser = clap::value_parser!(u64).range(1..))]
    batch: Vec<u64>,
    /// Threads; one a core by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Write the table to this file too.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One line of the table.
#[derive(serde::Serialize)]
struct Row {
    layer: &'static str,
    batch: usize,
    dead_percent: usize,
    variant: &'static str,
    kernel: &'static str,
    median_ms: f64,
    speedup: f64,
    gflops: f64,
    peak_percent: f64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut cpu = Cpu::try_detect().map_err(|error| error.to_string())?;
    if let Some(threads) = arguments.threads {
        cpu = cpu.threads(threads);
    }
    let budget = Duration::from_millis(if arguments.quick { 20 } else { 500 });
    println!("{}, {} threads", cpu.isa(), cpu.thread_count());
    println!(
        "{:8} {:>5} {:>5}  {:9} {:18} {:>9} {:>8} {:>8} {:>6}",
        "layer", "batch", "dead", "variant", "kernel", "ms", "speedup", "GFLOP/s", "peak"
    );
    let mut rows = Vec::new();
    for &batch in &arguments.batch {
        for (layer, size, c, o) in LAYERS {
            let g = Conv2d::square([batch as usize, size, size, c], o, 3, 1, 1);
            rows.extend(bench_layer(&cpu, layer, &g, budget)?);
        }
    }
    match &arguments.csv {
        Some(path) => write_csv(path, &rows).map_err(|error| format!("{}: {error}", path.display())),
        None => Ok(()),
    }
}

fn write_csv(path: &PathBuf, rows: &[Row]) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_path(path)?;
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    Ok(writer.flush()?)
}

/// Times every variant of one layer and prints a line for each.
fn bench_layer(cpu: &Cpu, layer: &'static str, g: &Conv2d, budget: Duration) -> Result<Vec<Row>, String> {
    let peak = cpu.fma_peak();
    let mut rows: Vec<Row> = Vec::new();
    for dead_percent in DEAD {
        let case = Case::new(g, dead_percent);
        for variant in case.variants(cpu, dead_percent) {
            let mut y = Buffer::zeros(variant.out_len);
            (variant.run)(&mut y);
            case.check(cpu, &y, variant.name == "pruned").map_err(|error| {
                format!("{layer}, batch {}, {dead_percent} % dead, {}: {error}", g.n, variant.name)
            })?;
            let seconds = median(budget, || (variant.run)(&mut y));
            let gflops = 2.0 * variant.macs as f64 / seconds / 1e9;
            let row = Row {
                layer,
                batch: g.n,
                dead_percent,
                variant: variant.name,
                kernel: variant.kernel,
                median_ms: seconds * 1e3,
                speedup: rows.first().map_or(1.0, |dense| dense.median_ms / (seconds * 1e3)),
                gflops,
                peak_percent: 100.0 * gflops / peak,
            };
            print_row(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

fn print_row(row: &Row) {
    println!(
        "{:8} {:5} {:4}%  {:9} {:18} {:9.3} {:7.2}× {:8.1} {:5.1}%",
        row.layer,
        row.batch,
        row.dead_percent,
        row.variant,
        row.kernel,
        row.median_ms,
        row.speedup,
        row.gflops,
        row.peak_percent
    );
}

/// The median time of runs that take `budget` together, three at least.
fn median(budget: Duration, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || start.elapsed() < budget {
        let start = Instant::now();
        run();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A layer with its data, in which some filters and input channels are dead.
struct Case<'a> {
    g: &'a Conv2d,
    /// Dead channels are zero.
    x: Buffer,
    /// Dead filters are zero.
    w: Buffer,
    bias: Buffer,
    live_inputs: Vec<bool>,
    live_filters: Vec<bool>,
}

/// Computes a case into its output.
type Run<'a> = Box<dyn Fn(&mut [f32]) + 'a>;

/// One way to compute a case.
struct Variant<'a> {
    name: &'static str,
    kernel: &'static str,
    macs: u64,
    out_len: usize,
    run: Run<'a>,
}

impl<'a> Case<'a> {
    fn new(g: &'a Conv2d, dead_percent: usize) -> Self {
        // The image's own channels are never dead.
        let live_inputs = alive(g.c, if g.c == 3 { 0 } else { dead_percent });
        let live_filters = alive(g.o, dead_percent);
        let mut x = noise(g.x_len(), 1);
        for (x, _) in x.iter_mut().zip(live_inputs.iter().cycle()).filter(|(_, live)| !**live) {
            *x = 0.0;
        }
        let mut w = noise(g.w_len(), 2);
        for (filter, _) in w.chunks_exact_mut(g.w_len() / g.o).zip(&live_filters).filter(|(_, live)| !**live)
        {
            filter.fill(0.0);
        }
        Self { g, x, w, bias: noise(g.o, 3), live_inputs, live_filters }
    }

    /// The weight of live filters and live inputs only.
    fn live_weight(&self) -> Buffer {
        let filters = self.w.chunks_exact(self.w.len() / self.g.o).zip(&self.live_filters);
        let live = filters.filter(|(_, live)| **live).flat_map(|(filter, _)| filter);
        live.zip(self.live_inputs.iter().cycle()).filter(|(_, live)| **live).map(|(w, _)| *w).collect()
    }

    /// Pruning has nothing to do where nothing is dead; dense is what it is, dead filters or not.
    fn variants(&'a self, cpu: &'a Cpu, dead_percent: usize) -> Vec<Variant<'a>> {
        if dead_percent == 0 {
            let chosen = self.dense(cpu, "dense", PackedConv2d::new(cpu, self.g, &self.w));
            let direct = self.dense(cpu, "direct", PackedConv2d::direct(cpu, self.g, &self.w));
            return vec![chosen, direct, self.masked(cpu), self.compacted(cpu)];
        }
        vec![self.masked(cpu), self.compacted(cpu), self.pruned(cpu)]
    }

    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue { bias: Some(&self.bias), ..Default::default() }
    }

    fn dense(&'a self, cpu: &'a Cpu, name: &'static str, packed: PackedConv2d) -> Variant<'a> {
        Variant {
            name,
            kernel: packed.kernel(),
            macs: self.g.macs(),
            out_len: self.g.y_len(),
            run: Box::new(move |y| {
                cpu::conv2d_forward_packed(cpu, self.g, &self.x, &packed, &self.epilogue(), y);
            }),
        }
    }

    fn masked(&'a self, cpu: &'a Cpu) -> Variant<'a> {
        let packed = PackedMasked::new(cpu, self.g, &self.w, &self.live_filters);
        Variant {
            name: "masked",
            kernel: packed.kernel(),
            macs: self.g.macs() / self.g.o as u64 * count(&self.live_filters) as u64,
            out_len: self.g.y_len(),
            run: Box::new(move |y| {
                cpu::conv2d_masked_forward_packed(cpu, self.g, &self.x, &packed, &self.epilogue(), y);
            }),
        }
    }

    fn compacted(&'a self, cpu: &'a Cpu) -> Variant<'a> {
        let (inputs, outputs) = (positions(&self.live_inputs), positions(&self.live_filters));
        let index = CompactIndex { inputs, outputs, carrier: false };
        let packed = PackedCompact::new(cpu, self.g, &index, &self.live_weight(), &self.bias);
        Variant {
            name: "compacted",
            kernel: packed.kernel(),
            macs: self.inner().macs(),
            out_len: self.g.y_len(),
            run: Box::new(move |y| {
                cpu::conv2d_compact_forward(cpu, self.g, &self.x, &packed, &self.epilogue(), y);
            }),
        }
    }

    fn pruned(&'a self, cpu: &'a Cpu) -> Variant<'a> {
        let g = self.inner();
        let packed = PackedConv2d::new(cpu, &g, &self.live_weight());
        let x: Buffer = self
            .x
            .iter()
            .zip(self.live_inputs.iter().cycle())
            .filter(|(_, live)| **live)
            .map(|(x, _)| *x)
            .collect();
        let bias: Buffer =
            self.bias.iter().zip(&self.live_filters).filter(|(_, live)| **live).map(|(b, _)| *b).collect();
        Variant {
            name: "pruned",
            kernel: packed.kernel(),
            macs: g.macs(),
            out_len: g.y_len(),
            run: Box::new(move |y| {
                let epilogue = Epilogue { bias: Some(&bias), ..Default::default() };
                cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &epilogue, y);
            }),
        }
    }

    /// The geometry of what is alive.
    fn inner(&self) -> Conv2d {
        Conv2d { c: count(&self.live_inputs), o: count(&self.live_filters), ..*self.g }
    }

    /// Compares a result with the dense one: two results within `c · ε · √K · Σ|x||w|` of the truth, c = 2, are
    /// within twice that of each other.
    fn check(&self, cpu: &Cpu, y: &[f32], live_only: bool) -> Result<(), String> {
        let absolute = |values: &Buffer| values.iter().map(|v| v.abs()).collect::<Buffer>();
        let (mut want, mut sums) = (Buffer::zeros(self.g.y_len()), Buffer::zeros(self.g.y_len()));
        cpu::conv2d_forward(cpu, self.g, &self.x, &self.w, Some(&self.bias), &mut want);
        let (x, w, bias) = (absolute(&self.x), absolute(&self.w), absolute(&self.bias));
        cpu::conv2d_forward(cpu, self.g, &x, &w, Some(&bias), &mut sums);
        let scale = 4.0 * f32::EPSILON * ((self.g.w_len() / self.g.o) as f32).sqrt();
        let compared = (0..want.len()).filter(|i| !live_only || self.live_filters[i % self.g.o]);
        for (&got, i) in y.iter().zip(compared) {
            if (got - want[i]).abs() > scale * sums[i] {
                return Err(format!("element {i} is {got}, but {} when dense", want[i]));
            }
        }
        Ok(())
    }
}

fn count(flags: &[bool]) -> usize {
    flags.iter().filter(|flag| **flag).count()
}

fn positions(flags: &[bool]) -> Vec<u32> {
    (0..flags.len() as u32).filter(|&i| flags[i as usize]).collect()
}

/// Flags of which `percent` in a hundred are dead, scattered in a fixed irregular order.
fn alive(len: usize, percent: usize) -> Vec<bool> {
    // A step that is coprime to every power of two visits each position once.
    let mut flags = vec![true; len];
    (0..len * percent / 100).for_each(|i| flags[i * 37 % len] = false);
    flags
}

/// Reproducible values in −0.5..0.5 (a linear congruential generator).
fn noise(len: usize, seed: u32) -> Buffer {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}
