//! `lopper run RECIPE.toml`.

use super::Common;
use crate::pipeline::Pipeline;
use crate::progress::note;
use crate::recipe::Recipe;
use crate::report;
use clap::Args;
use lopper_engine::{Error, Result};
use std::path::{Path, PathBuf};

/// A walkthrough on a recipe.
#[derive(Args)]
pub struct Run {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// The directory of its images [default: the recipe's `data.path`]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where model files and the report go [default: runs/NAME of the recipe]
    #[arg(long)]
    out: Option<PathBuf>,
    /// A trial: one epoch a training, 100 images of each class unless --limit says otherwise
    #[arg(long)]
    quick: bool,
    /// Images of each class to use [default: the recipe's, or all]
    #[arg(long)]
    limit: Option<usize>,
    /// Leave out images that cannot be decoded instead of stopping
    #[arg(long)]
    skip_bad_images: bool,
}

impl Run {
    pub fn run(&self, common: &Common) -> Result<()> {
        let mut recipe = Recipe::read(&self.recipe)?;
        recipe.data.skip_bad_images |= self.skip_bad_images;
        recipe.data.limit = self.limit.or(recipe.data.limit);
        let name = self.recipe.file_stem().unwrap_or_default();
        let out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
        walk(recipe, self.quick, self.data.as_deref(), &out, common)
    }
}

/// Runs `recipe`, prints its table and writes its report to `out`.
pub fn walk(recipe: Recipe, quick: bool, data: Option<&Path>, out: &Path, common: &Common) -> Result<()> {
    let recipe = if quick { recipe.quick() } else { recipe };
    let device = common.device()?;
    let seed = common.seed.unwrap_or(recipe.seed);
    let splits = lopper_models::data::open(&recipe.data, data, seed)?;
    // Before hours of training, not after them.
    std::fs::create_dir_all(out).map_err(|e| Error::file(out, e))?;
    let title = if recipe.title.is_empty() { "lopper" } else { &recipe.title };
    let rows = Pipeline::new(&device, Some(splits), seed).run(&recipe, out, |row| {
        note(format_args!("{:>14}  done in {:.1} s", row.stage, row.seconds));
    })?;
    report::write(out, title, &rows)?;
    common.print(&report::Stages { stages: &rows }, || {
        format!(
            "\n{}\n{}\nModels, report.md, .json, .csv and .svg are in {}\n",
            title,
            report::table(&rows),
            out.display()
        )
    })
}
