//! `lopper prune MODEL`.

use super::Common;
use super::step::{Layers, Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::prune::{Constants, PruneConfig, PrunePlan, PruneStage};
use lopper_compress::{Context, Criterion};
use lopper_engine::{Error, Result, input};
use std::path::{Path, PathBuf};

/// Remove channels.
#[derive(Args)]
pub struct Prune {
    /// A model file
    model: PathBuf,
    #[arg(long, requires = "fraction", help = criterion_help())]
    criterion: Option<Criterion>,
    /// Fraction of channels for the criterion to remove, in [0, 1]
    #[arg(long, requires = "criterion")]
    fraction: Option<f64>,
    /// global: the lowest scores of all layers; local: the same fraction of each layer
    #[arg(long, default_value = "global")]
    context: Context,
    /// Dead channels with constant output: exact (later layers absorb it) or drop (it becomes zero)
    #[arg(long, default_value = "exact")]
    constants: Constants,
    #[command(flatten)]
    layers: Layers,
    /// Replay the pruning plan in this TOML file
    #[arg(long, conflicts_with_all = ["criterion", "context", "include", "exclude"])]
    plan: Option<PathBuf>,
    /// Write the pruning plan to this TOML file
    #[arg(long)]
    save_plan: Option<PathBuf>,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Prune {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = PruneConfig {
            criterion: self.criterion.clone(),
            fraction: self.fraction,
            context: self.context,
            constants: self.constants,
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
            seed: common.seed.unwrap_or(0),
            ..PruneConfig::default()
        };
        config.check()?;
        let plan = self.plan.as_deref().map(read_plan).transpose()?;
        let pruning = PruneStage { prune: Some(config), plan, save_plan: self.save_plan.clone() };
        let stage = Stage::of(pruning, self.train.config(0)?)?;
        run_stage("pruned", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}

fn criterion_help() -> String {
    let names = Criterion::names();
    format!(
        "How to score channels: {names}; without it, only channels that sparsification left dead are removed"
    )
}

fn read_plan(path: &Path) -> Result<PrunePlan> {
    let text = input::read_to_string(path)?;
    toml::from_str(&text).map_err(|e| Error::file(path, e.to_string().trim_end()))
}
