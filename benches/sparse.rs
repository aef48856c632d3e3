//! Speedup from dead filters on VGG16's convolutions: dense, masked, compacted, and the pruned layers that bound them.
//!
//!     cargo bench --bench sparse -- [--quick] [--batch 1,16] [--csv FILE]
//!
//! - *dense* computes every filter, dead or not, with the algorithm that packing chooses: the baseline;
//! - *masked* computes live filters and stores them among the dead ones' constants;
//! - *pruned filters* has no dead filters in its tensors, but every input: the bound of masked, which does that work;
//! - *compacted* also skips the input channels that the previous layer no longer fills; widths stay;
//! - *pruned* is what remains after all dead channels are removed from the tensors: the bound of compacted.
//!
//! The layer and the one before it have the same share of dead filters.

mod common;

use clap::Parser;
use common::Options;
use common::check::Expected;
use common::rows::{SparseRow, Spread};
use common::timing::round;
use common::ways::{Way, checked_in_turn};
use common::workload::{ConvLayer, conv_layers, noise};
use lopper_engine::Result;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Cpu, Epilogue, PackedConv2d, Packing, Weights};
use lopper_kernels::params::CompactIndex;
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::Conv2d;
use std::process::ExitCode;

/// Percentages of dead filters.
const DEAD: [usize; 2] = [50, 75];

/// Weights come from memory.
const PACKING: Packing = Packing::Fastest(Weights::Memory);

/// Benchmark of convolutions with dead filters.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,16", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Vec<u16>,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut rows = Vec::new();
    for cpu in arguments.options.cpus(&[None])? {
        for &batch in &arguments.batch {
            for layer in conv_layers(&["vgg16_bn".into()], 128, batch.into())? {
                for dead_percent in DEAD {
                    let case = Case::new(&layer.g, dead_percent);
                    for row in case.bench(&cpu, &layer, dead_percent, &arguments.options)? {
                        print(&row);
                        rows.push(row);
                    }
                }
            }
        }
    }
    arguments.options.save(&rows)
}

fn print(row: &SparseRow) {
    println!(
        "{:12} batch {:2} × {} threads, {:2} % dead  {:14} {:22} {:9.3} ms {:6.2}×",
        row.layer,
        row.batch,
        row.threads,
        row.dead_percent,
        row.technique,
        row.kernel,
        row.median_ms,
        row.speedup
    );
}

/// Layer with its data, in which some filters and input channels are dead.
struct Case<'a> {
    g: &'a Conv2d,
    /// Input, zero in dead channels.
    x: Buffer,
    /// Weight, zero in dead filters.
    w: Buffer,
    bias: Buffer,
    live_inputs: Vec<bool>,
    live_filters: Vec<bool>,
}

impl<'a> Case<'a> {
    fn new(g: &'a Conv2d, dead_percent: usize) -> Self {
        // The channels of an image are never dead.
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

    /// Checks every variant, then times them all in turn.
    fn bench(
        &self,
        cpu: &Cpu,
        layer: &ConvLayer,
        dead_percent: usize,
        options: &Options,
    ) -> Result<Vec<SparseRow>> {
        let what = format!("{}, batch {}, {dead_percent} % dead", layer.name, self.g.n);
        let all = Expected::forward(self.g, &self.x, &self.w, Some(&self.bias));
        let [outputs, live] = [self.without_filters(), self.without_channels()];
        let [of_outputs, of_live] = [&outputs, &live].map(Narrow::expected);
        let mut ways = [
            self.dense(cpu, &all),
            self.masked(cpu, &all),
            outputs.way(cpu, "pruned filters", &of_outputs),
            self.compacted(cpu, &all),
            live.way(cpu, "pruned", &of_live),
        ];
        let measured = checked_in_turn(cpu, options.budget(), None, &what, &mut ways)?;
        let dense = measured.times[0].median();
        let rows = ways.iter().zip(&measured.times).map(|(way, times)| {
            let Spread { median_ms, p10_ms, p90_ms } = times.into();
            SparseRow {
                layer: layer.name.clone(),
                batch: self.g.n,
                threads: cpu.thread_count(),
                dead_percent,
                technique: way.name.into(),
                kernel: way.kernel.into(),
                median_ms,
                p10_ms,
                p90_ms,
                speedup: round(dense / times.median()),
            }
        });
        Ok(rows.collect())
    }

    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue { bias: Some(&self.bias), ..Default::default() }
    }

    fn dense(&'a self, cpu: &'a Cpu, expected: &'a Expected) -> Way<'a> {
        let packed = PackedConv2d::new(cpu, self.g, &self.w);
        Way::new("dense", packed.kernel(), expected, self.g.y_len(), move |y| {
            cpu::conv2d_forward_packed(cpu, self.g, &self.x, &packed, &self.epilogue(), y);
        })
    }

    fn masked(&'a self, cpu: &'a Cpu, expected: &'a Expected) -> Way<'a> {
        let pattern = Pattern::of(&self.w, self.g.filters_shape());
        let packed = PackedConv2d::masked(cpu, self.g, &self.w, &pattern, PACKING);
        Way::new("masked", packed.kernel(), expected, self.g.y_len(), move |y| {
            cpu::conv2d_forward_packed(cpu, self.g, &self.x, &packed, &self.epilogue(), y);
        })
    }

    fn compacted(&'a self, cpu: &'a Cpu, expected: &'a Expected) -> Way<'a> {
        let positions = |live: &[bool]| (0..live.len() as u32).filter(|&i| live[i as usize]).collect();
        let (inputs, outputs) = (positions(&self.live_inputs), positions(&self.live_filters));
        let index = CompactIndex { inputs, outputs, carrier: false };
        let packed = PackedConv2d::compact(cpu, self.g, &index, &self.live_weight(), &self.bias, PACKING);
        Way::new("compacted", packed.kernel(), expected, self.g.y_len(), move |y| {
            cpu::conv2d_forward_packed(cpu, self.g, &self.x, &packed, &self.epilogue(), y);
        })
    }

    /// Returns the layer without dead filters, which reads every input.
    fn without_filters(&self) -> Narrow {
        let all = vec![true; self.g.c];
        let g = Conv2d { o: count(&self.live_filters), ..*self.g };
        Narrow { g, x: self.x.iter().copied().collect(), w: self.weight_of(&all), bias: self.live_bias() }
    }

    /// Returns the layer without dead channels on either side.
    fn without_channels(&self) -> Narrow {
        let g = Conv2d { c: count(&self.live_inputs), o: count(&self.live_filters), ..*self.g };
        let x = only(&self.x, &self.live_inputs);
        Narrow { g, x, w: self.live_weight(), bias: self.live_bias() }
    }

    /// Returns the weight of only the live filters and live inputs.
    fn live_weight(&self) -> Buffer {
        self.weight_of(&self.live_inputs)
    }

    /// Returns the weight of the live filters at `inputs`.
    fn weight_of(&self, inputs: &[bool]) -> Buffer {
        let filters = self.w.chunks_exact(self.w.len() / self.g.o).zip(&self.live_filters);
        let live: Vec<f32> =
            filters.filter(|(_, live)| **live).flat_map(|(filter, _)| filter).copied().collect();
        only(&live, inputs)
    }

    fn live_bias(&self) -> Buffer {
        only(&self.bias, &self.live_filters)
    }
}

/// A layer whose dead channels are removed from its tensors.
struct Narrow {
    g: Conv2d,
    x: Buffer,
    w: Buffer,
    bias: Buffer,
}

impl Narrow {
    fn expected(&self) -> Expected {
        Expected::forward(&self.g, &self.x, &self.w, Some(&self.bias))
    }

    fn way<'a>(&'a self, cpu: &'a Cpu, name: &'static str, expected: &'a Expected) -> Way<'a> {
        let packed = PackedConv2d::new(cpu, &self.g, &self.w);
        Way::new(name, packed.kernel(), expected, self.g.y_len(), move |y| {
            let epilogue = Epilogue { bias: Some(&self.bias), ..Default::default() };
            cpu::conv2d_forward_packed(cpu, &self.g, &self.x, &packed, &epilogue, y);
        })
    }
}

fn count(live: &[bool]) -> usize {
    live.iter().filter(|live| **live).count()
}

/// Keeps only the live channels of every pixel.
fn only(values: &[f32], live: &[bool]) -> Buffer {
    values.iter().zip(live.iter().cycle()).filter(|(_, live)| **live).map(|(value, _)| *value).collect()
}

/// Returns flags of which `percent` in a hundred are dead, scattered in a fixed irregular order.
fn alive(len: usize, percent: usize) -> Vec<bool> {
    // A step that is coprime to every power of two visits each position once.
    let mut flags = vec![true; len];
    (0..len * percent / 100).for_each(|i| flags[i * 37 % len] = false);
    flags
}
