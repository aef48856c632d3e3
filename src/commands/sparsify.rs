//! `lopper sparsify MODEL`.

use super::Common;
use super::prune_args::normalization_help;
use super::step::{Layers, Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::criteria::Normalization;
use lopper_compress::sparsify::SparsitySchedule;
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
    /// global: the lowest scores of all layers; local: the same fraction of each layer
    #[arg(long, default_value = "global")]
    context: Context,
    #[arg(long, default_value_t, help = format!("How to score groups: {}", Criterion::names()))]
    criterion: Criterion,
    #[arg(long, help = normalization_help("where filters, kernels or other groups of several weights compete"))]
    normalization: Option<Normalization>,
    #[arg(long, default_value_t, help = format!("How sparsity grows during training: {}", SparsitySchedule::names()))]
    growth: SparsitySchedule,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
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
            sparsities: self.sparsities.iter().cloned().collect(),
            ..SparsifyConfig::new(0.0)
        };
        let stage = Stage::of(config, self.train.config(5)?)?;
        run_stage("sparsified", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}

/// Parses `LAYER=FRACTION`.
fn fraction_of(text: &str) -> std::result::Result<(String, f64), String> {
    let parts =
        text.split_once('=').and_then(|(layer, value)| Some((layer.to_string(), value.parse().ok()?)));
    parts.ok_or_else(|| format!("expected LAYER=FRACTION, found {text}"))
}
