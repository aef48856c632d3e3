//! Inference plans of whole networks, with and without folded batch norms.
//!
//!     cargo bench --bench networks -- [--quick] [--networks NAMES] [--csv FILE]
//!
//! Each plan is checked against the unfolded graph.

mod common;

use clap::Parser;
use common::rows::{NetworkRow, Spread};
use common::timing::round;
use common::workload::{network, noise};
use common::{Options, check, timing};
use lopper_engine::plan::{Plan, PlanMemory};
use lopper_engine::{Device, Graph, Result, Tensor};
use lopper_kernels::cpu::Cpu;
use std::hint::black_box;
use std::process::ExitCode;

/// Benchmark of inference plans.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Architectures, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "resnet18,resnet34,resnet50,vgg16_bn")]
    networks: Vec<String>,
    /// Side of the images, pixels
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,16", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Vec<u16>,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut rows = Vec::new();
    let cpus = arguments.options.cpus(&[Some(1), None])?;
    for name in &arguments.networks {
        let plain = network(name, arguments.size.into())?;
        let folded = lopper_compress::fold::fold(&plain)?.graph;
        for cpu in &cpus {
            for &batch in &arguments.batch {
                for row in bench(cpu, [&plain, &folded], batch.into(), &arguments.options)? {
                    print(&row);
                    rows.push(row);
                }
            }
        }
    }
    arguments.options.save(&rows)
}

/// Checks the plans of a network and of its folded version, then times them in turn.
fn bench(cpu: &Cpu, graphs: [&Graph; 2], batch: usize, options: &Options) -> Result<Vec<NetworkRow>> {
    let (name, device) = (&graphs[0].info.arch, Device::Cpu(cpu.clone()));
    let [h, w, c] = graphs[0].info.input;
    let images = noise(batch * h * w * c, 1);
    let plan = |graph| Plan::new(graph, [batch, h, w, c], &device);
    let mut plans = [plan(graphs[0])?, plan(graphs[1])?];
    let expected = graphs[0].logits(&device, Tensor::from_slice(&[batch, h, w, c], &images)?)?;
    for plan in &mut plans {
        check::close(&format!("{name}, batch {batch}"), plan.run(&images)?, expected.data())?;
    }
    let totals: Vec<(u64, PlanMemory)> =
        plans.iter().map(|plan| (plan.steps().iter().map(|step| step.macs).sum(), plan.memory())).collect();
    let [mut plain, mut folded] = plans.each_mut().map(|plan| {
        || {
            black_box(plan.run(&images).expect("it ran before"));
        }
    });
    let measured = timing::in_turn(cpu, 3 * options.budget(), None, &mut [&mut plain, &mut folded]);
    let rows = totals.iter().zip(&measured.times).zip([false, true]);
    let rows = rows.map(|((&(macs, memory), times), folded)| {
        let spread = Spread::from(times);
        let Spread { median_ms, p10_ms, p90_ms } = spread;
        NetworkRow {
            network: name.clone(),
            size: h,
            batch,
            threads: cpu.thread_count(),
            folded,
            median_ms,
            p10_ms,
            p90_ms,
            gflops: spread.gflops(macs),
            peak_gflops: measured.peak_gflops,
            weight_mbytes: round(1e-6 * memory.weights as f64),
            arena_mbytes: round(1e-6 * memory.arena as f64),
        }
    });
    Ok(rows.collect())
}

fn print(row: &NetworkRow) {
    println!(
        "{:10} {} px, batch {:2} × {} threads, {:8} {:9.3} ms {:7.1} GFLOP/s {:4.0} % of peak, {:6.1} MB of weights, {:6.1} MB of activations",
        row.network,
        row.size,
        row.batch,
        row.threads,
        if row.folded { "folded" } else { "unfolded" },
        row.median_ms,
        row.gflops,
        100.0 * row.gflops / row.peak_gflops,
        row.weight_mbytes,
        row.arena_mbytes
    );
}
