//! The convolutions of VGG16 and the ResNets: forward with the direct and with the chosen algorithm, and both
//! gradients.
//!
//!     cargo bench --bench conv2d -- [--quick] [--networks NAMES] [--batch 1,16] [--csv FILE]
//!
//! GFLOP/s count the operations of the direct algorithm, so Winograd F(4×4, 3×3), which needs a quarter of the
//! multiplications, can exceed the peak of fused multiply-adds.

mod common;

use clap::Parser;
use common::Options;
use common::check::Expected;
use common::rows::{Conv2dRow, Spread};
use common::ways::{Way, checked_in_turn};
use common::workload::{ConvLayer, conv_layers, noise};
use lopper_engine::{Error, Result};
use lopper_kernels::cpu::{self, Cpu, Epilogue, PackedConv2d};
use lopper_kernels::shapes::Conv2d;
use std::process::ExitCode;

/// Benchmark of convolutions and their gradients.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Architectures whose distinct convolutions are timed, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "vgg16_bn,resnet18,resnet50")]
    networks: Vec<String>,
    /// Side of the images, pixels
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,16", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Vec<u16>,
    /// Time only 3×3 convolutions of stride 1, with the chosen algorithm
    #[arg(long)]
    chosen_3x3: bool,
    /// Time only this convolution, such as `vgg16_bn features.3`
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut rows = Vec::new();
    for cpu in arguments.options.cpus(&[None])? {
        for &batch in &arguments.batch {
            for layer in layers(arguments, batch.into())? {
                for row in bench(&cpu, &layer, arguments)? {
                    print(&row);
                    rows.push(row);
                }
            }
        }
    }
    arguments.options.save(&rows)
}

fn layers(arguments: &Arguments, batch: usize) -> Result<Vec<ConvLayer>> {
    let mut layers = conv_layers(&arguments.networks, arguments.size.into(), batch)?;
    if let Some(only) = &arguments.only {
        layers.retain(|layer| *only == format!("{} {}", layer.network, layer.name));
        if layers.is_empty() {
            return Err(Error::invalid(format!(
                "--only: {only:?} is not a convolution of {:?}",
                arguments.networks
            )));
        }
    }
    if arguments.chosen_3x3 {
        layers.retain(|layer| layer.g.kh == 3 && layer.g.stride == [1, 1]);
        return Ok(layers);
    }
    if arguments.only.is_some() {
        return Ok(layers);
    }
    for (size, channels) in [(32, 128), (8, 512)] {
        let dense = Conv2d::square([batch, size, size, channels], channels, 3, 1, 1);
        let g = Conv2d { groups: channels, ..dense };
        layers.push(ConvLayer { network: "depthwise".into(), name: format!("{channels} channels"), g });
    }
    Ok(layers)
}

/// Checks every algorithm on one layer, then times them all in turn.
fn bench(cpu: &Cpu, layer: &ConvLayer, arguments: &Arguments) -> Result<Vec<Conv2dRow>> {
    let g = &layer.g;
    let (x, w, dy) = (noise(g.x_len(), 1), noise(g.w_len(), 2), noise(g.y_len(), 3));
    let forward = Expected::forward(g, &x, &w, None);
    let (input_grad, weight_grad) = (Expected::input_grad(g, &dy, &w), Expected::weight_grad(g, &x, &dy));
    let packed = |name, packed: PackedConv2d| {
        let x = &x;
        Way::new(name, packed.kernel(), &forward, g.y_len(), move |y| {
            cpu::conv2d_forward_packed(cpu, g, x, &packed, &Epilogue::default(), y);
        })
    };
    let mut ways = vec![packed("chosen", PackedConv2d::new(cpu, g, &w))];
    if !arguments.chosen_3x3 {
        ways.insert(0, packed("direct", PackedConv2d::direct(cpu, g, &w)));
        ways.push(Way::new("weight_grad", "", &weight_grad, g.w_len(), |dw| {
            cpu::conv2d_weight_grad(cpu, g, &x, &dy, dw);
        }));
        // Training never needs the gradient of the images.
        if g.c != 3 {
            ways.push(Way::new("input_grad", "", &input_grad, g.x_len(), |dx| {
                cpu::conv2d_input_grad(cpu, g, &dy, &w, dx);
            }));
        }
    }
    let what = format!("{} {}, batch {}", layer.network, layer.name, g.n);
    let measured = checked_in_turn(cpu, arguments.options.budget(), None, &what, &mut ways)?;
    let rows = ways.iter().zip(&measured.times).map(|(way, times)| {
        let spread = Spread::from(times);
        let Spread { median_ms, p10_ms, p90_ms } = spread;
        Conv2dRow {
            network: layer.network.clone(),
            layer: layer.name.clone(),
            batch: g.n,
            threads: cpu.thread_count(),
            shape: layer.shape(),
            algorithm: way.name.into(),
            kernel: way.kernel.into(),
            median_ms,
            p10_ms,
            p90_ms,
            gflops: spread.gflops(g.macs()),
            peak_gflops: measured.peak_gflops,
        }
    });
    Ok(rows.collect())
}

fn print(row: &Conv2dRow) {
    println!(
        "{:9} {:22} {:24} batch {:2} × {} threads  {:11} {:22} {:9.3} ms {:8.1} GFLOP/s {:4.0} % of peak",
        row.network,
        row.layer,
        row.shape,
        row.batch,
        row.threads,
        row.algorithm,
        row.kernel,
        row.median_ms,
        row.gflops,
        100.0 * row.gflops / row.peak_gflops
    );
}
