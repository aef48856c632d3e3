//! `lopper fold MODEL`.

use super::Common;
use super::step::{Output, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::fold::FoldConfig;
use lopper_engine::Result;
use std::path::PathBuf;

/// Fold batch norms.
#[derive(Args)]
pub struct Fold {
    /// A model file
    model: PathBuf,
    #[command(flatten)]
    output: Output,
}

impl Fold {
    pub fn run(&self, common: &Common) -> Result<()> {
        run_stage("folded", Some(&self.model), Stage::of(FoldConfig {}, None)?, &self.output, None, common)
    }
}
