//! `lopper demo`.

use super::Common;
use super::run::walk;
use crate::recipe::Recipe;
use clap::Args;
use lopper_engine::Result;
use std::path::PathBuf;

/// The whole walkthrough, on images that are built in.
#[derive(Args)]
pub struct Demo {
    /// Where model files and the report go
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// A trial of under a minute: few images, one epoch a training
    #[arg(long)]
    quick: bool,
}

impl Demo {
    pub fn run(&self, common: &Common) -> Result<()> {
        let recipe = Recipe::parse(include_str!("../../recipes/demo.toml"))?;
        walk(recipe, self.quick, None, &self.out, common)
    }
}
