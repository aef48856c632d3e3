//! `lopper share MODEL`.

use super::Common;
use super::step::{Layers, Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::ShareConfig;
use lopper_engine::Result;
use std::path::PathBuf;

/// Let weights share few values.
#[derive(Args)]
pub struct Share {
    /// A model file
    model: PathBuf,
    /// Bits of a weight's code, 1 to 12: a layer takes at most 2^bits values
    #[arg(long, default_value_t = ShareConfig::default().bits)]
    bits: u32,
    /// Bits in linear layers [default: --bits]
    #[arg(long, value_name = "BITS")]
    linear_bits: Option<u32>,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Share {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = ShareConfig {
            bits: self.bits,
            linear_bits: self.linear_bits,
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
            seed: common.seed.unwrap_or(0),
        };
        let stage = Stage::of(config, self.train.config(0)?)?;
        run_stage("shared", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}
