//! `lopper slim MODEL`.

use super::Common;
use super::step::{Layers, Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::SlimConfig;
use lopper_engine::Result;
use std::path::PathBuf;

/// Push the scales of batch norms toward zero while training.
#[derive(Args)]
pub struct Slim {
    /// A model file
    model: PathBuf,
    /// Weight of the penalty on |γ|, the scale of each channel; 1e-5 to 1e-3 in the paper
    #[arg(long, default_value_t = 1e-4)]
    l1: f64,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Slim {
    pub fn run(&self, common: &Common) -> Result<()> {
        let (include, exclude) = (self.layers.include.clone(), self.layers.exclude.clone());
        let config = SlimConfig { l1: self.l1, include, exclude };
        let stage = Stage::of(config, self.train.config(5)?)?;
        run_stage("slimmed", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}
