//! `lopper sparsify MODEL`.

use super::Common;
use super::step::{Layers, Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::SparsifyConfig;
use lopper_compress::sparsify::{Context, Criterion, Granularity, Schedule};
use lopper_engine::Result;
use std::path::PathBuf;

/// Set weights to zero.
#[derive(Args)]
pub struct Sparsify {
    /// A model file
    model: PathBuf,
    /// Fraction of groups to drop, in [0, 1]
    #[arg(long)]
    sparsity: f64,
    /// What lives and dies together: weight, kernel, filter, row or column
    #[arg(long, default_value = "filter")]
    granularity: Granularity,
    /// global: the least of all layers; local: the same fraction of each
    #[arg(long, default_value = "global")]
    context: Context,
    /// large_final (magnitude), random, taylor or batch_norm_gamma
    #[arg(long, default_value = "large_final")]
    criterion: Criterion,
    /// How sparsity grows while training: one_shot, linear, cosine, gradual or iterative:STEPS
    #[arg(long, value_parser = parse_growth, default_value = "cosine")]
    growth: Schedule,
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
            criterion: self.criterion,
            schedule: self.growth,
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
            seed: common.seed.unwrap_or(0),
            ..SparsifyConfig::new(self.sparsity)
        };
        config.check()?;
        let stage = Stage { sparsify: Some(config), train: self.train.config(5)?, ..Stage::default() };
        run_stage("sparsified", Some(&self.model), stage, &self.output, Some(&self.train.keep), common)
    }
}

fn parse_growth(name: &str) -> std::result::Result<Schedule, String> {
    match (name, name.strip_prefix("iterative:").map(str::parse)) {
        ("one_shot", _) => Ok(Schedule::OneShot),
        ("linear", _) => Ok(Schedule::Linear),
        ("cosine", _) => Ok(Schedule::Cosine),
        ("gradual", _) => Ok(Schedule::Gradual),
        (_, Some(Ok(steps))) => Ok(Schedule::Iterative { steps }),
        _ => Err("expected one_shot, linear, cosine, gradual or iterative:STEPS".into()),
    }
}
