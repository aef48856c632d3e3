//! `lopper fold MODEL`.

use super::Common;
use super::step::{Output, run_stage};
use crate::recipe::{Fold as FoldStage, Stage};
use clap::Args;
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
        let stage = Stage { fold: Some(FoldStage {}), ..Stage::default() };
        run_stage("folded", Some(&self.model), stage, &self.output, None, common)
    }
}
