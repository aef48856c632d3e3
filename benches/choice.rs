//! How good the plan's choice among algorithms is: measured times of convolutions beside their estimates.
//!
//!     cargo bench --bench choice -- [--threads 1,2] [--zeros 0,70,90] [--weights cache,memory] [--csv FILE]
//!
//! The constants of the estimates were fitted to the first list of layers; the second list, which is *held out*, checks
//! them. Each layer is timed inside the pool, as a plan runs it, because a call from outside also pays for waking a
//! thread. Each call reads another copy of the weights; together, the copies exceed the caches that the weights do not
//! come from. The images stay in the cache. `lost` is the time by which the chosen algorithm exceeds the fastest one.

mod common;

use clap::Parser;
use common::Options;
use common::check::{Expected, bound};
use common::timing::{Times, round};
use common::workload::noise;
use lopper_engine::Result;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Algorithm, Choice, Cpu, Epilogue, PackedConv2d, Packing, Weights};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::Conv2d;
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Compares estimates with measurements.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Percentages of single weights that are zero
    #[arg(long, value_delimiter = ',', default_value = "0,50,70,80,90", value_parser = clap::value_parser!(u8).range(0..100))]
    zeros: Vec<u8>,
    /// Numbers of neighboring filters that share their zeros
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u8).range(1..))]
    blocks: Vec<u8>,
    /// Where weights come from: cache, memory
    #[arg(long, value_delimiter = ',', default_value = "cache,memory", value_parser = ["cache", "memory"])]
    weights: Vec<String>,
    /// Only layers with this kernel size
    #[arg(long)]
    kernel: Option<usize>,
    /// Time on each algorithm of a case, milliseconds
    #[arg(long, default_value_t = 30)]
    milliseconds: u64,
}

/// Layers as `[batch, height and width, channels, filters, kernel, stride]`.
type Layers = &'static [[usize; 6]];

/// The layers that the constants are fitted to.
const FITTED: Layers = &[
    [1, 32, 64, 64, 3, 1],
    [16, 32, 64, 64, 3, 1],
    [1, 16, 64, 64, 3, 1],
    [1, 16, 128, 128, 3, 1],
    [16, 16, 128, 128, 3, 1],
    [1, 8, 256, 256, 3, 1],
    [4, 8, 256, 256, 3, 1],
    [16, 8, 256, 256, 3, 1],
    [1, 4, 512, 512, 3, 1],
    [16, 4, 512, 512, 3, 1],
    [1, 8, 512, 512, 3, 1],
    [1, 56, 64, 64, 3, 1],
    [1, 28, 128, 128, 3, 1],
    [1, 14, 256, 256, 3, 1],
    [1, 7, 512, 512, 3, 1],
    [4, 7, 512, 512, 3, 1],
    [1, 16, 256, 256, 3, 1],
    [1, 64, 32, 32, 3, 1],
    [1, 8, 64, 64, 3, 1],
    [1, 32, 3, 64, 3, 1],
    [1, 128, 3, 64, 7, 2],
    [16, 64, 3, 64, 7, 2],
    [1, 32, 64, 128, 3, 2],
    [8, 16, 128, 256, 3, 2],
    [1, 32, 64, 128, 1, 2],
    [1, 8, 512, 512, 1, 1],
    [16, 8, 512, 512, 1, 1],
    [4, 32, 64, 256, 1, 1],
    [4, 32, 256, 64, 1, 1],
    [16, 32, 64, 256, 1, 1],
    [1, 32, 64, 256, 1, 1],
    [1, 16, 256, 256, 1, 1],
];

/// The layers that check the constants.
const HELD_OUT: Layers = &[
    [4, 28, 64, 64, 3, 1],
    [1, 14, 96, 96, 3, 1],
    [8, 14, 96, 96, 3, 1],
    [2, 28, 128, 128, 3, 1],
    [1, 12, 192, 192, 3, 1],
    [1, 24, 48, 96, 3, 1],
    [4, 14, 256, 256, 3, 1],
    [1, 6, 384, 384, 3, 1],
    [8, 6, 384, 384, 3, 1],
    [16, 2, 512, 512, 3, 1],
    [1, 14, 512, 512, 3, 1],
    [2, 20, 160, 160, 3, 1],
    [1, 10, 320, 320, 3, 1],
    [1, 4, 128, 128, 3, 1],
    [3, 7, 192, 128, 3, 1],
    [16, 8, 64, 64, 3, 1],
    [1, 40, 80, 80, 3, 1],
    [1, 224, 3, 64, 7, 2],
    [4, 96, 3, 96, 11, 4],
    [2, 12, 96, 192, 3, 2],
    [1, 28, 128, 256, 3, 2],
    [1, 16, 128, 256, 1, 2],
    [4, 8, 256, 512, 1, 2],
    [8, 28, 128, 128, 1, 1],
    [1, 28, 96, 384, 1, 1],
    [2, 28, 384, 96, 1, 1],
    [16, 32, 256, 64, 1, 1],
    [1, 7, 320, 1280, 1, 1],
];

/// The bytes of all copies of the weights that come from the last-level cache: more than a core's own caches hold.
const BEYOND_CORE: usize = 4 << 20;
/// The same for weights from memory: more than the last-level cache of one processor holds.
const BEYOND_CACHE: usize = 64 << 20;
/// How often the ways of a layer take their turn.
const ROUNDS: u32 = 3;

/// An algorithm on a layer.
#[derive(Serialize)]
struct Row {
    /// `fitted` or `held out`.
    set: &'static str,
    batch: usize,
    size: usize,
    channels: usize,
    filters: usize,
    kernel: usize,
    stride: usize,
    threads: usize,
    weights: String,
    zeros_percent: u8,
    block: u8,
    algorithm: String,
    /// Whether the plan chooses it for these zeros.
    chosen: bool,
    median_ms: f64,
    /// Time over that of the direct algorithm, measured and estimated.
    of_direct: f64,
    estimated: f64,
    /// The time of the fastest algorithm for these zeros.
    fastest_ms: f64,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut rows = Vec::new();
    for cpu in arguments.options.cpus(&[Some(1), None])? {
        for (set, layers) in [("fitted", FITTED), ("held out", HELD_OUT)] {
            for layer in layers.iter().filter(|layer| arguments.kernel.is_none_or(|k| k == layer[4])) {
                for weights in &arguments.weights {
                    rows.extend(Case::new(&cpu, arguments, set, *layer, weights).rows()?);
                }
            }
        }
    }
    for row in rows.iter().filter(|row| row.chosen) {
        print(row);
    }
    summarize(&rows);
    arguments.options.save(&rows)
}

/// A layer on a backend.
struct Case<'a> {
    cpu: &'a Cpu,
    arguments: &'a Arguments,
    set: &'static str,
    layer: [usize; 6],
    weights: &'a str,
    g: Conv2d,
}

/// An algorithm with packed weights.
struct Way {
    /// The percentage of zeros, and the number of filters that share them.
    zeros: [u8; 2],
    algorithm: Algorithm,
    copies: Vec<PackedConv2d>,
    next: usize,
    times: Vec<f64>,
}

impl<'a> Case<'a> {
    fn new(
        cpu: &'a Cpu,
        arguments: &'a Arguments,
        set: &'static str,
        layer: [usize; 6],
        weights: &'a str,
    ) -> Self {
        let [n, size, c, o, kernel, stride] = layer;
        let g = Conv2d::square([n, size, size, c], o, kernel, stride, kernel / 2);
        Self { cpu, arguments, set, layer, weights, g }
    }

    fn place(&self) -> Weights {
        if self.weights == "memory" { Weights::Memory } else { Weights::Cache }
    }

    /// Random weights with these zeros, and their pattern.
    fn weight(&self, [percent, block]: [u8; 2]) -> (Buffer, Pattern) {
        let mut w = noise(self.g.w_len(), 2);
        let len = self.g.w_len() / self.g.o;
        let kept = noise(self.g.w_len(), 3);
        for (i, value) in w.iter_mut().enumerate() {
            let (filter, place) = (i / len, i % len);
            let of_block = filter / usize::from(block) * len + place;
            if kept[of_block] + 0.5 < f32::from(percent) / 100.0 {
                *value = 0.0;
            }
        }
        let pattern = Pattern::of(&w, self.g.filters_shape());
        (w, pattern)
    }

    /// Packs `w` for `algorithm`, or returns `None` if it does not apply.
    fn way(&self, zeros: [u8; 2], algorithm: Algorithm, w: &[f32], pattern: &Pattern) -> Option<Way> {
        let pack = || PackedConv2d::masked(self.cpu, &self.g, w, pattern, Packing::By(algorithm));
        let first = pack();
        if first.choice().algorithm != algorithm {
            return None;
        }
        let all = match self.place() {
            Weights::Memory => BEYOND_CACHE,
            Weights::Cache | Weights::Fresh => BEYOND_CORE,
        };
        let count = all.div_ceil(first.bytes().max(1));
        let copies = std::iter::once(first).chain((1..count).map(|_| pack())).collect();
        Some(Way { zeros, algorithm, copies, next: 0, times: Vec::new() })
    }

    fn rows(&self) -> Result<Vec<Row>> {
        let dense = Pattern::dense(self.g.filters_shape());
        let (x, w) = (noise(self.g.x_len(), 1), noise(self.g.w_len(), 2));
        let mut ways: Vec<Way> = Algorithm::DENSE
            .into_iter()
            .filter_map(|algorithm| self.way([0, 1], algorithm, &w, &dense))
            .collect();
        let mut estimates = vec![([0, 1], PackedConv2d::with(self.cpu, &self.g, &w, self.packing()))];
        for zeros in self.zeros() {
            let (w, pattern) = self.weight(zeros);
            ways.extend(self.way(zeros, Algorithm::RowLanes, &w, &pattern));
            let chosen = PackedConv2d::masked(self.cpu, &self.g, &w, &pattern, self.packing());
            estimates.push((zeros, chosen));
        }
        let mut y = Buffer::zeros(self.g.y_len());
        for way in &ways {
            let (w, _) = self.weight(way.zeros);
            let packed = &way.copies[0];
            cpu::conv2d_forward_packed(self.cpu, &self.g, &x, packed, &Epilogue::default(), &mut y);
            let what = format!("{:?}, {} % zeros, {}", self.layer, way.zeros[0], way.algorithm);
            Expected::forward(&self.g, &x, &w, None).check(&what, bound("", packed.kernel()), &y)?;
        }
        let time =
            Duration::from_millis(if self.arguments.options.quick { 1 } else { self.arguments.milliseconds });
        self.cpu.run(|| {
            for _ in 0..ROUNDS {
                for way in &mut ways {
                    way.sample(self.cpu, &self.g, &x, time / ROUNDS, &mut y);
                }
            }
        });
        Ok(estimates
            .iter()
            .flat_map(|(zeros, chosen)| self.rows_of(*zeros, chosen.choice(), &ways))
            .collect())
    }

    fn packing(&self) -> Packing {
        Packing::Fastest(self.place())
    }

    /// The kinds of zeros, each with at least some.
    fn zeros(&self) -> Vec<[u8; 2]> {
        let Arguments { zeros, blocks, .. } = self.arguments;
        let zeros = zeros.iter().filter(|&&percent| percent > 0);
        zeros.flat_map(|&percent| blocks.iter().map(move |&block| [percent, block])).collect()
    }

    /// The rows of the algorithms that compute these zeros: the dense ones, and row lanes for them.
    fn rows_of(&self, zeros: [u8; 2], choice: &Choice, ways: &[Way]) -> Vec<Row> {
        let candidates = || ways.iter().filter(|way| way.zeros == [0, 1] || way.zeros == zeros);
        let direct = ways[0].seconds();
        let fastest = candidates().map(Way::seconds).fold(f64::INFINITY, f64::min);
        let [batch, size, channels, filters, kernel, stride] = self.layer;
        let row = |way: &Way| Row {
            set: self.set,
            batch,
            size,
            channels,
            filters,
            kernel,
            stride,
            threads: self.cpu.thread_count(),
            weights: self.weights.into(),
            zeros_percent: zeros[0],
            block: zeros[1],
            algorithm: way.algorithm.to_string(),
            chosen: way.algorithm == choice.algorithm,
            median_ms: round(1e3 * way.seconds()),
            of_direct: round(way.seconds() / direct),
            estimated: round(choice.of_direct(way.algorithm).unwrap_or(1.0)),
            fastest_ms: round(1e3 * fastest),
        };
        candidates().map(row).collect()
    }
}

impl Way {
    /// Times calls for `time`, after one that is not timed. Each call reads the next copy of the weights.
    fn sample(&mut self, cpu: &Cpu, g: &Conv2d, x: &[f32], time: Duration, y: &mut [f32]) {
        let mut call = || {
            self.next = (self.next + 1) % self.copies.len();
            let start = Instant::now();
            cpu::conv2d_forward_packed(cpu, g, x, &self.copies[self.next], &Epilogue::default(), y);
            start.elapsed()
        };
        call();
        let begin = Instant::now();
        loop {
            self.times.push(call().as_secs_f64());
            if begin.elapsed() >= time {
                break;
            }
        }
    }

    fn seconds(&self) -> f64 {
        Times::new(self.times.clone()).median()
    }
}

fn print(row: &Row) {
    let Row { set, batch, size, channels, filters, kernel, stride, threads, weights, .. } = row;
    println!(
        "{set:8} {batch:2}x{size}x{size}x{channels} {filters} {kernel}x{kernel}/{stride} {threads} threads {weights:6} \
         {:2} % zeros in {}: {:9} {:8.4} ms, {:4.2} of direct, estimated {:4.2}; lost {:3.0} %",
        row.zeros_percent,
        row.block,
        row.algorithm,
        row.median_ms,
        row.of_direct,
        row.estimated,
        100.0 * (row.median_ms / row.fastest_ms - 1.0),
    );
}

/// Prints the errors of the estimates and the time lost by choices, for each list of layers.
fn summarize(rows: &[Row]) {
    for set in ["fitted", "held out"] {
        for algorithm in Algorithm::DENSE[1..].iter().chain(&[Algorithm::RowLanes]).map(Algorithm::to_string)
        {
            let of = |row: &&Row| {
                // Dense algorithms appear beside each kind of zeros; they count once.
                row.set == set
                    && row.algorithm == algorithm
                    && (row.zeros_percent > 0) == (algorithm == Algorithm::RowLanes.to_string())
            };
            let ratios = rows.iter().filter(of).map(|row| row.estimated / row.of_direct);
            quantiles(&format!("{set}: {algorithm}, estimate over time"), ratios);
        }
        let chosen = || rows.iter().filter(|row| row.set == set && row.chosen);
        quantiles(
            &format!("{set}: time of the choice over the fastest"),
            chosen().map(|row| row.median_ms / row.fastest_ms),
        );
    }
}

fn quantiles(what: &str, values: impl Iterator<Item = f64>) {
    let values: Vec<f64> = values.collect();
    if values.is_empty() {
        return;
    }
    let count = values.len();
    let times = Times::new(values);
    let [low, first, median, last, high] = [0.0, 0.1, 0.5, 0.9, 1.0].map(|share| times.quantile(share));
    println!(
        "{what}: {count} cases, from {low:.2} to {high:.2}, tenths {first:.2} to {last:.2}, median {median:.2}"
    );
}
