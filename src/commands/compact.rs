//! `lopper compact MODEL`.

use super::Common;
use super::step::{Layers, Output, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::CompactConfig;
use lopper_engine::Result;
use std::path::PathBuf;

/// Compute only live channels.
#[derive(Args)]
pub struct Compact {
    /// A model file with dead channels
    model: PathBuf,
    /// Minimum fraction of a convolution's weights that must go to justify a gather and a scatter
    #[arg(long, default_value_t = CompactConfig::default().min_saving)]
    min_saving: f64,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    output: Output,
}

impl Compact {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = CompactConfig {
            min_saving: self.min_saving,
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
        };
        run_stage("compacted", Some(&self.model), Stage::of(config, None)?, &self.output, None, common)
    }
}
