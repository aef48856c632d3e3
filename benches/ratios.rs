//! Checks that the kernels keep the documented ratios. Takes some seconds and is run by hand; no test depends on it.
//!
//!     cargo bench --bench ratios [-- --quick]
//!
//! Every ratio compares times taken in turn in this process. The exit status is 1 if a ratio is missed.

mod common;

use clap::Parser;
use common::Options;
use common::timing::{Measured, Memory, in_turn};
use common::workload::noise;
use lopper_compress::{Context, Granularity, PruneConfig, SparsifyConfig, sparsify};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Error, Graph, Layer, Result};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Cpu, Epilogue, Isa, PackedConv2d, PackedLinear};
use lopper_kernels::shapes::{Conv2d, Linear};
use std::hint::black_box;
use std::process::ExitCode;

/// Checks the ratios between kernels and the machine's limits.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse().options))
}

/// Ratio and its minimum.
struct Ratio {
    what: String,
    value: f64,
    at_least: f64,
}

fn run(options: &Options) -> Result<()> {
    let cpu = options.cpus(&[None])?.swap_remove(0);
    let one = cpu.clone().threads(1);
    let mut ratios = vec![
        direct_of_peak(&one, options, 0.92),
        direct_over_winograd(&one, options),
        linear_of_memory(&cpu, options),
    ];
    if let Some(avx2) = Cpu::with_isa(Isa::Avx2) {
        ratios.push(direct_of_peak(&avx2.threads(1), options, 0.85));
    }
    if cpu.thread_count() > 1 {
        ratios.push(threads(&one, &cpu, options));
        println!("a fork and join of {} threads takes {:.1} µs", cpu.thread_count(), 1e6 * cpu.fork_join());
    }
    for name in ["vgg16_bn", "resnet18", "mobilenet_v2"] {
        let graphs = masked_and_pruned(name)?;
        for batch in [1, 16] {
            ratios.push(masked_over_pruned(&cpu, options, name, batch, &graphs)?);
        }
    }
    let mut missed = 0;
    for Ratio { what, value, at_least } in &ratios {
        let verdict = if value >= at_least { "pass" } else { "FAIL" };
        missed += usize::from(value < at_least);
        println!("{verdict}  {value:5.2}  (at least {at_least:.2})  {what}");
    }
    match missed {
        0 => Ok(()),
        missed => Err(Error::invalid(format!("{missed} of {} ratios were missed", ratios.len()))),
    }
}

/// Returns a layer from the middle of VGG16: 3×3, 256 channels in and out, 32×32 pixels.
fn middle_layer() -> Conv2d {
    Conv2d::square([4, 32, 32, 256], 256, 3, 1, 1)
}

/// Times the middle layer, once for each of the `packed` weights on its backend.
fn time(options: &Options, packed: &[(&Cpu, PackedConv2d)]) -> Measured {
    let g = &middle_layer();
    let x = noise(g.x_len(), 1);
    let mut runs: Vec<_> = packed
        .iter()
        .map(|(cpu, packed)| {
            let (x, mut y) = (&x, Buffer::zeros(g.y_len()));
            move || cpu::conv2d_forward_packed(cpu, g, x, packed, &Epilogue::default(), &mut y)
        })
        .collect();
    in_turn(
        packed[0].0,
        3 * options.budget(),
        None,
        &mut runs.iter_mut().map(|run| run as _).collect::<Vec<_>>(),
    )
}

fn weight() -> Buffer {
    noise(middle_layer().w_len(), 2)
}

fn direct_of_peak(cpu: &Cpu, options: &Options, at_least: f64) -> Ratio {
    let g = middle_layer();
    let measured = time(options, &[(cpu, PackedConv2d::direct(cpu, &g, &weight()))]);
    let gflops = 2e-9 * g.macs() as f64 / measured.times[0].median();
    let what = format!("direct convolution on one thread of {}: share of the FMA peak", cpu.isa());
    Ratio { what, value: gflops / measured.peak_gflops, at_least }
}

fn direct_over_winograd(cpu: &Cpu, options: &Options) -> Ratio {
    let (g, w) = (middle_layer(), weight());
    let packed = [PackedConv2d::direct(cpu, &g, &w), PackedConv2d::new(cpu, &g, &w)];
    let measured = time(options, &packed.map(|packed| (cpu, packed)));
    let [direct, chosen] = [0, 1].map(|i| measured.times[i].median());
    Ratio { what: "Winograd: speedup over direct".into(), value: direct / chosen, at_least: 1.0 / 0.6 }
}

fn linear_of_memory(cpu: &Cpu, options: &Options) -> Ratio {
    let g = Linear { n: 1, inputs: 25088, outputs: 4096 };
    let packed = PackedLinear::new(cpu, &g, &noise(g.inputs * g.outputs, 1));
    let (x, mut y) = (noise(g.inputs, 2), Buffer::zeros(g.outputs));
    let mut run = || cpu::linear_forward_packed(cpu, &g, &x, &packed, &Epilogue::default(), &mut y);
    let memory = Memory::new();
    let measured = in_turn(cpu, 3 * options.budget(), Some(&memory), &mut [&mut run]);
    let rate = 1e-9 * g.bytes() as f64 / measured.times[0].median();
    let read = measured.read_gbytes_s.expect("in_turn was given a memory buffer");
    let what = "linear 25088→4096 of one image, packed: share of the memory read rate".into();
    Ratio { what, value: rate / read, at_least: 0.85 }
}

fn threads(one: &Cpu, all: &Cpu, options: &Options) -> Ratio {
    let (g, w) = (middle_layer(), weight());
    let measured = time(options, &[one, all].map(|cpu| (cpu, PackedConv2d::new(cpu, &g, &w))));
    let [alone, together] = [0, 1].map(|i| measured.times[i].median());
    let count = all.thread_count();
    let what = format!("convolution on {count} threads: speedup over one");
    Ratio { what, value: alone / together, at_least: 0.85 * count as f64 }
}

/// Returns a network for images of 128 px with half of each layer's filters masked, and the same network pruned. Its batch
/// norms turn the masked channels into constants.
fn masked_and_pruned(name: &str) -> Result<[Graph; 2]> {
    let classes = lopper_models::numbered_classes(10);
    let built =
        lopper_models::Options { seed: Some(0), ..lopper_models::Options::new(classes, [128, 128, 3]) };
    let mut graph = lopper_models::build(name, &built)?;
    for id in 1..graph.nodes().len() {
        if let Layer::BatchNorm(bn) = graph.layer_mut(id) {
            let beta = noise(bn.channels(), id as u32);
            bn.bias.update(|values| values.copy_from_slice(&beta));
        }
    }
    let (granularity, context) = (Granularity::FILTER, Context::Local);
    let config = SparsifyConfig { granularity, context, ..SparsifyConfig::new(0.5) };
    let masked = sparsify(&graph, &config, None)?.graph;
    let pruned = PruneConfig::default().apply(&masked, None)?.graph;
    Ok([masked, pruned])
}

fn masked_over_pruned(
    cpu: &Cpu,
    options: &Options,
    name: &str,
    batch: usize,
    graphs: &[Graph; 2],
) -> Result<Ratio> {
    let images = noise(batch * 128 * 128 * 3, 1);
    let plan = |graph| Plan::new(graph, [batch, 128, 128, 3], &Device::Cpu(cpu.clone()));
    let mut plans = [plan(&graphs[0])?, plan(&graphs[1])?];
    let [mut masked, mut pruned] = plans.each_mut().map(|plan| {
        || {
            black_box(plan.run(&images).expect("the images fit"));
        }
    });
    let measured = in_turn(cpu, 3 * options.budget(), None, &mut [&mut masked, &mut pruned]);
    let [masked, pruned] = [0, 1].map(|i| measured.times[i].quantile(0.1));
    let what = format!("{name} with half of its filters masked, batch {batch}: speed of the pruned network");
    Ok(Ratio { what, value: pruned / masked, at_least: 0.97 })
}
