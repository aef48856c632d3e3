//! `lopper lottery MODEL --rewind MODEL`.

use super::Common;
use super::step::{Layers, Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::{Context, Criterion, Granularity, LotteryConfig};
use lopper_engine::Result;
use std::path::PathBuf;

/// Mask the weights of a trained network that matter least, and rewind the others.
#[derive(Args)]
pub struct Lottery {
    /// Model file of the trained network
    model: PathBuf,
    /// Model file of the network to rewind to: untrained, or after a few epochs
    #[arg(long, value_name = "MODEL")]
    rewind: PathBuf,
    /// Fraction of the groups that are left to mask, below 1
    #[arg(long, default_value_t = 0.2)]
    fraction: f64,
    #[arg(long, default_value_t = Granularity::WEIGHT, help = format!("Weights that are masked together: {}", Granularity::names()))]
    granularity: Granularity,
    /// global: the lowest scores of all layers; local: the same fraction of each layer
    #[arg(long, default_value = "global")]
    context: Context,
    #[arg(long, default_value_t, help = format!("How to score groups: {}", Criterion::names()))]
    criterion: Criterion,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Lottery {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = LotteryConfig {
            granularity: self.granularity,
            context: self.context,
            criterion: self.criterion.clone(),
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
            seed: common.seed.unwrap_or(0),
            ..LotteryConfig::new(self.fraction, self.rewind.display().to_string())
        };
        let stage = Stage::of(config, self.train.config(0)?)?;
        run_stage("ticket", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}
