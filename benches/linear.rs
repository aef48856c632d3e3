//! Fully connected layers by batch size, and products of square matrices.
//!
//!     cargo bench --bench linear -- [--quick] [--batch 1,2,4,8,16,64] [--csv FILE]
//!
//! With few rows, a linear layer is bound by reading its weight; with many, by arithmetic. Each row shows how close it
//! comes to both limits, the peak of fused multiply-adds and the memory read rate, measured alongside it. (A weight of
//! some tens of megabytes stays in a large last-level cache between runs, and can then be read faster than from
//! memory.)

mod common;

use clap::Parser;
use common::Options;
use common::check::Expected;
use common::rows::{LinearRow, Spread};
use common::timing::{Memory, round};
use common::ways::{Way, checked_in_turn};
use common::workload::noise;
use lopper_engine::Result;
use lopper_kernels::cpu::{self, Cpu, Epilogue, PackedLinear};
use lopper_kernels::params::{Dtype, Trans};
use lopper_kernels::shapes::{Conv2d, Linear, Matmul};
use std::process::ExitCode;

/// Inputs and outputs of VGG16's first linear layer, of the same layer with a 4×4 pool folded into it, of VGG16's
/// second linear layer, and of ResNet-50's ImageNet classifier.
const LAYERS: [(usize, usize); 4] = [(25088, 4096), (8192, 4096), (4096, 4096), (2048, 1000)];

/// Sizes of square matrices.
const SQUARES: [usize; 3] = [256, 512, 1024];

/// Benchmark of linear layers and matrix products.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,64", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Vec<u16>,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut rows = Vec::new();
    let cpus = arguments.options.cpus(&[None])?;
    let memory = Memory::new();
    let mut keep = |measured: Vec<LinearRow>| {
        measured.iter().for_each(print);
        rows.extend(measured);
    };
    for cpu in &cpus {
        for (inputs, outputs) in LAYERS {
            let w = noise(inputs * outputs, 1);
            for &batch in &arguments.batch {
                let g = Linear { n: batch.into(), inputs, outputs };
                keep(layer(cpu, &g, &w, &memory, &arguments.options)?);
            }
        }
        for side in SQUARES {
            keep(square(cpu, side, &memory, &arguments.options)?);
        }
    }
    arguments.options.save(&rows)
}

/// Checks and times a layer with its weight packed and as stored, and its gradients.
fn layer(cpu: &Cpu, g: &Linear, w: &[f32], memory: &Memory, options: &Options) -> Result<Vec<LinearRow>> {
    let (x, dy) = (noise(g.n * g.inputs, 2), noise(g.n * g.outputs, 3));
    // A linear layer is a 1×1 convolution over the rows of the batch.
    let conv = g.over_pixels();
    let forward = Expected::forward(&conv, &x, w, None);
    let (input_grad, weight_grad) =
        (Expected::input_grad(&conv, &dy, w), Expected::weight_grad(&conv, &x, &dy));
    let rounded: Vec<f32> = w.iter().map(|&v| to_bf16(v)).collect();
    let forward_bf16 = Expected::forward(&conv, &x, &rounded, None);
    let packed = |name, storage, expected| {
        let (x, packed) = (&x, PackedLinear::stored(cpu, g, w, storage));
        Way::new(name, packed.kernel(), expected, g.n * g.outputs, move |y| {
            cpu::linear_forward_packed(cpu, g, x, &packed, &Epilogue::default(), y);
        })
    };
    let mut ways = [
        packed("packed", Dtype::F32, &forward),
        packed("packed bf16", Dtype::Bf16, &forward_bf16),
        Way::new("stored", "", &forward, dy.len(), |y| cpu::linear_forward(cpu, g, &x, w, None, y)),
        Way::new("input_grad", "", &input_grad, x.len(), |dx| cpu::linear_input_grad(cpu, g, &dy, w, dx)),
        Way::new("weight_grad", "", &weight_grad, w.len(), |dw| cpu::linear_weight_grad(cpu, g, &x, &dy, dw)),
    ];
    time(cpu, g, &mut ways, memory, options)
}

/// Rounds to the nearest bf16; ties go to even.
fn to_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000)
}

/// Checks and times the product of two square matrices.
fn square(cpu: &Cpu, side: usize, memory: &Memory, options: &Options) -> Result<Vec<LinearRow>> {
    let (a, b) = (noise(side * side, 1), noise(side * side, 2));
    let g = Linear { n: side, inputs: side, outputs: side };
    // A·B is the input gradient of a linear layer with weight B.
    let conv = Conv2d::square([1, 1, side, side], side, 1, 1, 0);
    let expected = Expected::input_grad(&conv, &a, &b);
    let mut ways = [Way::new("gemm", "", &expected, a.len(), |c| {
        cpu::gemm(cpu, &Matmul::new([Trans::No, Trans::No], [side, side, side]), &a, &b, false, c);
    })];
    time(cpu, &g, &mut ways, memory, options)
}

fn time(
    cpu: &Cpu,
    g: &Linear,
    ways: &mut [Way],
    memory: &Memory,
    options: &Options,
) -> Result<Vec<LinearRow>> {
    let what = format!("{}→{}, batch {}", g.inputs, g.outputs, g.n);
    let measured = checked_in_turn(cpu, options.budget(), Some(memory), &what, ways)?;
    let read_gbytes_s = measured.read_gbytes_s.expect("in_turn was given a memory buffer");
    let rows = ways.iter().zip(&measured.times).map(|(way, times)| {
        let spread = Spread::from(times);
        let Spread { median_ms, p10_ms, p90_ms } = spread;
        LinearRow {
            operation: way.name.into(),
            inputs: g.inputs,
            outputs: g.outputs,
            batch: g.n,
            threads: cpu.thread_count(),
            median_ms,
            p10_ms,
            p90_ms,
            gflops: spread.gflops(g.macs()),
            peak_gflops: measured.peak_gflops,
            gbytes_s: round(1e-6 * g.bytes() as f64 / median_ms),
            read_gbytes_s,
        }
    });
    Ok(rows.collect())
}

fn print(row: &LinearRow) {
    println!(
        "{:11} {:5}→{:4} batch {:4} × {} threads {:9.3} ms {:7.1} GFLOP/s {:4.0} % of peak {:6.1} GB/s {:4.0} % of memory's rate",
        row.operation,
        row.inputs,
        row.outputs,
        row.batch,
        row.threads,
        row.median_ms,
        row.gflops,
        100.0 * row.gflops / row.peak_gflops,
        row.gbytes_s,
        100.0 * row.gbytes_s / row.read_gbytes_s
    );
}
