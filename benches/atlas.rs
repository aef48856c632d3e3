//! The atlas of sparse kernels: every way of being sparse against the best dense kernel, on the layers of four networks.
//!
//!     cargo bench --bench atlas -- [--quick] [--networks vgg16_bn,…] [--layer 128x128@16:3] [--batch 1,16] [--budget MINUTES] [--csv FILE]
//!
//! `lopper atlas` measures other networks and single layers, with the same code (`src/atlas`).

mod common;

use clap::Parser;
use common::Options;
use common::workload::{ATLAS_NETWORKS, ATLAS_SPARSITIES};
use lopper::atlas::{self, Layer, Limits, Sweep, Table, Way};
use lopper_engine::{Device, Error, Result};
use std::process::ExitCode;
use std::time::Duration;

/// Benchmark of sparse kernels.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Architectures, whose layers are measured once each
    #[arg(long, value_delimiter = ',', default_value = ATLAS_NETWORKS)]
    networks: Vec<String>,
    /// Only layers whose name contains one of these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// A layer by shape, as in `lopper atlas`, besides those of the networks; may be repeated
    #[arg(long = "layer", value_name = "SHAPE")]
    layers: Vec<Layer>,
    /// Side of the square images in pixels
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,16", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Vec<u16>,
    /// Percentages of zero weights
    #[arg(long, value_delimiter = ',', default_values_t = ATLAS_SPARSITIES, value_parser = clap::value_parser!(u32).range(..100))]
    sparsity: Vec<u32>,
    #[arg(long, value_delimiter = ',', help = format!("Only these ways, besides the dense ones: {}", Way::names()))]
    ways: Vec<Way>,
    /// Minutes for the whole sweep, if less than the layers would take; each way still runs twice per round
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { options, .. } = arguments;
    let devices: Vec<Device> = options.cpus(&[Some(1), None])?.into_iter().map(Device::Cpu).collect();
    let sweep = Sweep {
        layers: layers(arguments)?,
        batches: arguments.batch.iter().map(|&batch| batch.into()).collect(),
        sparsities: arguments.sparsity.clone(),
        ways: if arguments.ways.is_empty() { Way::SPARSE.to_vec() } else { arguments.ways.clone() },
        limits: Limits {
            rounds: if options.quick { 3 } else { 5 },
            way: options.budget() / 3,
            total: arguments.budget.map(|minutes| Duration::from_secs(60 * u64::from(minutes))),
        },
    };
    let rows = sweep.run(&devices, Vec::new(), |progress| {
        eprintln!("{}/{}: {}", progress.cell + 1, progress.cells, progress.what);
        Ok(())
    })?;
    println!("{}\n", atlas::LEGEND);
    let tables = Table::of_crossovers(&atlas::crossovers(&rows));
    tables.iter().for_each(|table| println!("{}", table.text()));
    options.save(&rows)
}

/// The distinct layers of all networks that `--only` selects, and those given by shape.
fn layers(arguments: &Arguments) -> Result<Vec<Layer>> {
    let size = usize::from(arguments.size);
    let mut layers: Vec<Layer> = Vec::new();
    for name in &arguments.networks {
        // Only the geometry matters: ten classes suffice, and no random weights are needed.
        let network = lopper_models::Options {
            seed: None,
            ..lopper_models::Options::new(lopper_models::numbered_classes(10), [size, size, 3])
        };
        let graph = lopper_models::build(name, &network)?;
        let wanted = |layer: &Layer| {
            arguments.only.is_empty() || arguments.only.iter().any(|word| layer.name.contains(word.as_str()))
        };
        for layer in atlas::of_graph(name, &graph, [size; 2])?.into_iter().filter(wanted) {
            if layers.iter().all(|known| known.operation != layer.operation) {
                layers.push(layer);
            }
        }
    }
    layers.extend(arguments.layers.iter().cloned());
    match layers.is_empty() {
        true => Err(Error::invalid("--only: no layer's name contains any of these")),
        false => Ok(layers),
    }
}
