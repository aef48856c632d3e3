//! `lopper factorize MODEL`.

use super::Common;
use super::step::{Layers, Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::FactorizeConfig;
use lopper_engine::Result;
use std::path::PathBuf;

/// Split linear layers in two.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("rank").required(true).args(["fraction", "energy"]))]
pub struct Factorize {
    /// A model file
    model: PathBuf,
    /// Fraction of the full rank to remove, in [0, 1)
    #[arg(long)]
    fraction: Option<f64>,
    /// Share of the squared singular values to keep, in [0, 1]
    #[arg(long)]
    energy: Option<f64>,
    /// Also factorize layers that do not become smaller
    #[arg(long)]
    even_if_larger: bool,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Factorize {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = FactorizeConfig {
            fraction: self.fraction,
            energy: self.energy,
            force: self.even_if_larger,
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
        };
        let stage = Stage::of(config, self.train.config(0)?)?;
        run_stage("factorized", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}
