//! Checks what this machine's times are estimated to be: of layers that did not make the table, of networks that are cut as
//! `lopper sensitivity` cuts them, and of networks that are brought to a share of their latency.
//!
//!     cargo bench --bench estimate [-- --quick] [--networks resnet18,vgg16_bn] [--size 64] [--share 0.5]
//!                                  [--techniques prune,sparsify,factorize] [--cuts]
//!
//! The table is measured anew. Networks have random weights, whose values do not matter to a latency. The last column is the
//! measured latency over the one that was asked for; the exit status is 1 if it is off by more than 5 %.

mod common;

use clap::Parser;
use common::Options;
use lopper::latency::{ROUNDS, TURN, in_turn_by_batch, test_images};
use lopper::machine::{Layer, MachineClock, NetworkClock, held_out};
use lopper_compress::prune::{Amount, Constants, PruneConfig, PruneStage, Target};
use lopper_compress::sparsify::{SparsifyConfig, SparsityTarget};
use lopper_compress::techniques::{Clock, Technique};
use lopper_compress::{Context, ConvSplit, FactorizeConfig, Granularity, factorize, sparsify};
use lopper_engine::{Device, Error, Graph, Result};
use lopper_models::numbered_classes;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far a measured latency may be from its target.
const WITHIN: f64 = 0.05;

/// Compares estimated with measured times.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Networks to prune to a share of their latency, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "resnet18,vgg16_bn,mobilenet_v2,resnet50")]
    networks: Vec<String>,
    /// Height and width of the images
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Share of the latency
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Techniques that bring networks to that share, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "prune")]
    techniques: Vec<String>,
    /// Compare the estimates of cut networks with measured latencies, too
    #[arg(long)]
    cuts: bool,
}

/// A row of the result file.
#[derive(serde::Serialize)]
struct Row {
    what: String,
    threads: usize,
    estimated_ms: f64,
    measured_ms: f64,
    ratio: f64,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let (mut rows, mut missed) = (Vec::new(), 0);
    for cpu in arguments.options.cpus(&[Some(1)])? {
        let threads = cpu.thread_count();
        let device = Device::Cpu(cpu);
        let clock = Arc::new(MachineClock::new(&device, None, |text| println!("{text}")));
        let begin = Instant::now();
        clock.table();
        println!("{threads} threads: table measured in {:.1} s\n", begin.elapsed().as_secs_f64());
        for layer in held_out()? {
            rows.push(of_layer(&layer, &clock, &device, arguments.options.budget())?);
        }
        print_errors(&rows, threads);
        if arguments.cuts {
            let first = rows.len();
            for name in &arguments.networks {
                rows.extend(of_cuts(name, arguments.size, &clock)?);
            }
            print_errors(&rows[first..], threads);
        }
        let clock: Arc<dyn Clock> = clock;
        for (name, technique) in
            arguments.networks.iter().flat_map(|name| arguments.techniques.iter().map(move |of| (name, of)))
        {
            let row = to_share([name.as_str(), technique.as_str()], arguments, &clock, &device)?;
            missed += usize::from((row.ratio - 1.0).abs() > WITHIN);
            rows.push(row);
        }
    }
    if let Some(path) = &arguments.options.csv {
        let mut writer = csv::Writer::from_path(path).map_err(|e| Error::file(path, e))?;
        rows.iter().try_for_each(|row| writer.serialize(row)).map_err(|e| Error::file(path, e))?;
        writer.flush().map_err(|e| Error::file(path, e))?;
    }
    // A quick run tests the benchmark rather than the machine.
    match missed {
        missed if missed > 0 && !arguments.options.quick => {
            Err(Error::invalid(format!("{missed} networks missed their latency by more than 5 %")))
        }
        _ => Ok(()),
    }
}

fn of_layer(layer: &Layer, clock: &MachineClock, device: &Device, time: Duration) -> Result<Row> {
    let estimated_ms = clock.estimate(&layer.amount(device)?);
    // Two halves: the faster one was disturbed less.
    let halves = [layer.measure(device, time / 2)?, layer.measure(device, time / 2)?];
    let measured_ms = halves[0].min(halves[1]);
    let threads = threads(device);
    Ok(Row {
        what: layer.name.clone(),
        threads,
        estimated_ms,
        measured_ms,
        ratio: estimated_ms / measured_ms,
    })
}

fn threads(device: &Device) -> usize {
    match device {
        Device::Cpu(cpu) => cpu.thread_count(),
        Device::Cuda(_) => 0,
    }
}

fn print_errors(rows: &[Row], threads: usize) {
    println!(
        "{:36}  {:>12}  {:>11}  estimated/measured",
        "layer that is held out, or cut network", "estimated ms", "measured ms"
    );
    let rows = rows.iter().filter(|row| row.threads == threads);
    let mut errors = Vec::new();
    for Row { what, estimated_ms, measured_ms, ratio, .. } in rows {
        println!("{what:36}  {estimated_ms:12.4}  {measured_ms:11.4}  {ratio:5.2}");
        errors.push(ratio.max(1.0 / ratio) - 1.0);
    }
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| 100.0 * errors[(share * (errors.len() - 1) as f64).round() as usize];
    println!(
        "\nerror: median {:.0} %, nine tenths within {:.0} %, at most {:.0} %\n",
        at(0.5),
        at(0.9),
        at(1.0)
    );
}

/// The network `name` with random weights.
fn network(name: &str, size: usize) -> Result<Graph> {
    lopper_models::build(name, &lopper_models::Options::new(numbered_classes(10), [size, size, 3]))
}

/// The networks that `lopper sensitivity` could make of `graph`, by name.
fn cuts(graph: &Graph) -> Result<Vec<(String, Graph)>> {
    let mut found = Vec::new();
    for fraction in [0.25, 0.5, 0.75] {
        let config = PruneConfig {
            criterion: Some("random".parse()?),
            fraction: Some(fraction),
            context: Context::Local,
            constants: Constants::Drop,
            ..PruneConfig::default()
        };
        found.push((format!("prune {fraction}"), config.apply(graph, None)?.graph));
    }
    let sparse = [
        (Granularity::WEIGHT, 0.8),
        (Granularity::WEIGHT, 0.95),
        (Granularity::BLOCK.block(2), 0.9),
        (Granularity::KERNEL_BLOCK.block(16), 0.7),
    ];
    for (granularity, sparsity) in sparse {
        let config = SparsifyConfig { granularity, context: Context::Local, ..SparsifyConfig::new(sparsity) };
        found.push((format!("{granularity} {sparsity}"), sparsify(graph, &config, None)?.graph));
    }
    let split = FactorizeConfig {
        fraction: Some(0.75),
        conv: Some(ConvSplit::Channel),
        force: true,
        ..FactorizeConfig::default()
    };
    found.push(("factorize 0.75".into(), factorize(graph, &split)?.graph));
    Ok(found)
}

/// Estimated and measured latencies of the cuts of a network; the estimates are scaled by what the uncut network takes beside
/// each.
fn of_cuts(name: &str, size: usize, clock: &MachineClock) -> Result<Vec<Row>> {
    let (graph, image) = (network(name, size)?, [size, size, 3]);
    let shape = [1, size, size, 3];
    let of_network = NetworkClock::measure(clock, &graph, image, &test_images(image.iter().product()))?;
    let device = clock.device();
    let whole = of_network.ms(&graph, image, device)?;
    let mut rows = Vec::new();
    for (cut, after) in cuts(&graph)? {
        let found = in_turn_by_batch(&[(&graph, shape), (&after, shape)], ROUNDS, TURN, device)?;
        let estimated_ms = of_network.ms(&after, image, device)? / whole * found[0].median;
        let (measured_ms, threads) = (found[1].median, threads(device));
        let what = format!("{name}, {cut}");
        rows.push(Row { what, threads, estimated_ms, measured_ms, ratio: estimated_ms / measured_ms });
    }
    Ok(rows)
}

/// The technique `name` with the target of a share of the latency.
fn technique(name: &str, share: f64) -> Result<Box<dyn Technique>> {
    let latency = Some(Amount::Share(share));
    Ok(match name {
        "prune" => {
            let prune = PruneConfig {
                criterion: Some("large_final".parse()?),
                constants: Constants::Drop,
                target: Some(Target { latency, ..Target::default() }),
                ..PruneConfig::default()
            };
            Box::new(PruneStage { prune: Some(prune), ..PruneStage::default() })
        }
        "sparsify" => {
            let target = Some(SparsityTarget { latency, ..SparsityTarget::default() });
            Box::new(SparsifyConfig { sparsity: None, target, ..SparsifyConfig::new(0.0) })
        }
        "factorize" => Box::new(FactorizeConfig {
            target_latency: latency,
            conv: Some(ConvSplit::Auto),
            ..FactorizeConfig::default()
        }),
        other => {
            return Err(Error::invalid(format!(
                "--techniques: expected prune, sparsify or factorize, found {other}"
            )));
        }
    })
}

/// Brings a network to a share of its latency, and measures both once more.
fn to_share(
    [name, of]: [&str; 2],
    arguments: &Arguments,
    clock: &Arc<dyn Clock>,
    device: &Device,
) -> Result<Row> {
    let graph = network(name, arguments.size)?;
    let begin = Instant::now();
    let technique = technique(of, arguments.share)?;
    let missing = || Error::invalid("the technique has a target");
    let after = technique.timed(clock).ok_or_else(missing)?.apply(&graph, None)?.rewrite;
    let line = after.report.to_string();
    println!(
        "{name}, {of}: {:.1} s\n{}",
        begin.elapsed().as_secs_f64(),
        line.lines().last().unwrap_or_default()
    );
    let shape = [1, arguments.size, arguments.size, 3];
    let found = in_turn_by_batch(&[(&graph, shape), (&after.graph, shape)], ROUNDS, TURN, device)?;
    let (before, after) = (found[0], found[1]);
    let asked = arguments.share * before.median;
    println!(
        "    measured again: {:.3} ms ({:.3} to {:.3}) of {:.3} ms ({:.3} to {:.3}): {:.3} of it, {:.3} of what was asked\n",
        after.median,
        after.quartiles.0,
        after.quartiles.1,
        before.median,
        before.quartiles.0,
        before.quartiles.1,
        after.median / before.median,
        after.median / asked
    );
    let (what, threads) = (format!("{name} by {of} at {}x", arguments.share), threads(device));
    Ok(Row { what, threads, estimated_ms: asked, measured_ms: after.median, ratio: after.median / asked })
}
