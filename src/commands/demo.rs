//! `lopper demo`.

use super::Common;
use super::run::Walk;
use crate::keeping::KeepArgs;
use crate::recipe::Recipe;
use clap::Args;
use lopper_engine::Result;
use std::path::PathBuf;

/// Run the whole walkthrough on built-in images.
#[derive(Args)]
pub struct Demo {
    /// Directory for model files and the report
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Short trial of under a minute: few images, one epoch per training
    #[arg(long)]
    quick: bool,
    /// Replace the result of an earlier run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    keep: KeepArgs,
}

impl Demo {
    pub fn run(&self, common: &Common) -> Result<()> {
        let recipe = Recipe::parse(include_str!("../../recipes/demo.toml"))?;
        let Self { quick, force, keep, out } = self;
        Walk { quick: *quick, data: None, out, force: *force, keep, repeats: None }.run(recipe, common)
    }
}
