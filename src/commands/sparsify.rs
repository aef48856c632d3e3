//! `lopper sparsify MODEL`.

use super::Common;
use super::prune_args::normalization_help;
use super::step::{Layers, Output, TrainArgs, run_timed_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::criteria::Normalization;
use lopper_compress::prune::Amount;
use lopper_compress::sparsify::{SparsitySchedule, SparsityTarget};
use lopper_compress::{Context, Criterion, Granularity, SparsifyConfig};
use lopper_engine::Result;
use std::path::PathBuf;

/// Set weights to zero.
#[derive(Args)]
pub struct Sparsify {
    /// A model file
    model: PathBuf,
    /// Fraction of groups to drop, in [0, 1]; a granularity N:M implies it
    #[arg(long)]
    sparsity: Option<f64>,
    /// Fractions of layers of their own; * in LAYER stands for any characters, and several are separated by commas
    /// [default: --sparsity for all]
    #[arg(long, value_name = "LAYER=FRACTION", value_delimiter = ',', value_parser = fraction_of)]
    sparsities: Vec<(String, f64)>,
    #[arg(long, default_value_t, help = format!("Weights that are dropped together: {}, which keeps N of every M inputs", Granularity::names()))]
    granularity: Granularity,
    /// global: the lowest scores of all layers; stage: of the layers whose images have one size; local: the same fraction of
    /// each layer
    #[arg(long, default_value = "global")]
    context: Context,
    #[arg(long, default_value_t, help = format!("How to score groups: {}", Criterion::names()))]
    criterion: Criterion,
    #[arg(long, help = normalization_help("where filters, kernels or other groups of several weights compete"))]
    normalization: Option<Normalization>,
    #[arg(long, default_value_t, help = format!("How sparsity grows during training: {}", SparsitySchedule::names()))]
    growth: SparsitySchedule,
    /// Return to the weights of this training step, from 0, whenever sparsity grows [default: never]
    #[arg(long, value_name = "STEP")]
    rewind: Option<usize>,
    /// With --rewind: end with these weights, as a lottery ticket
    #[arg(long, requires = "rewind")]
    reset_end: bool,
    /// Training steps between two updates of the masks [default: 1]
    #[arg(long, value_name = "STEPS")]
    every: Option<usize>,
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

/// What the network may cost.
#[derive(Args)]
#[command(next_help_heading = "Target")]
struct Targets {
    /// Latency of the sparse network, as a share of the network's (0.5x) or in milliseconds (3.2ms): each layer gets the
    /// granularity and the sparsity that lose the least for the time that they save
    #[arg(long, value_name = "LATENCY", group = "target", conflicts_with_all = ["sparsity", "sparsities", "granularity", "context"])]
    target_latency: Option<Amount>,
    /// Bytes of the weights in the file, as a share (0.5x) or a number (4MB)
    #[arg(long, value_name = "BYTES", group = "target", conflicts_with_all = ["sparsity", "sparsities", "granularity", "context"])]
    target_bytes: Option<Amount>,
    /// With a target: granularities to choose from, separated by commas
    /// [default: weight,block:2,kernel_block:16; of bytes weight]
    #[arg(long, value_name = "GRANULARITIES", value_delimiter = ',', requires = "target")]
    granularities: Vec<Granularity>,
    /// With --target-latency: images in a batch [default: 1]
    #[arg(long, value_name = "IMAGES", requires = "target_latency")]
    target_batch: Option<usize>,
    /// With --target-latency: measure this machine's kernels anew, and keep no table of their times
    #[arg(long, requires = "target_latency")]
    no_cache: bool,
}

impl Targets {
    /// The target, if one is given.
    fn target(&self) -> Option<SparsityTarget> {
        let target = SparsityTarget {
            latency: self.target_latency,
            bytes: self.target_bytes,
            batch: self.target_batch,
            granularities: self.granularities.clone(),
        };
        (target != SparsityTarget::default()).then_some(target)
    }
}

impl Sparsify {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = SparsifyConfig {
            granularity: self.granularity,
            context: self.context,
            criterion: self.criterion.clone(),
            normalization: self.normalization,
            schedule: self.growth.clone(),
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
            seed: common.seed.unwrap_or(0),
            sparsity: self.sparsity,
            rewind: self.rewind,
            reset_end: self.reset_end,
            every: self.every.unwrap_or(1),
            sparsities: self.sparsities.iter().cloned().collect(),
            target: self.targets.target(),
            ..SparsifyConfig::new(0.0)
        };
        let stage = Stage::of(config, self.train.config(5)?)?;
        let output = (&self.output, !self.targets.no_cache);
        run_timed_stage("sparsified", Some(&self.model), stage, output, Some(&self.train), common)
    }
}

/// Parses `LAYER=FRACTION`.
fn fraction_of(text: &str) -> std::result::Result<(String, f64), String> {
    let parts =
        text.split_once('=').and_then(|(layer, value)| Some((layer.to_string(), value.parse().ok()?)));
    parts.ok_or_else(|| format!("expected LAYER=FRACTION, found {text}"))
}
