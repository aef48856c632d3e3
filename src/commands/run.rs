//! `lopper run RECIPE.toml`.

use super::Common;
use crate::binding::Binding;
use crate::keeping::{KeepArgs, Keeping};
use crate::output_file::refuse_existing_plans;
use crate::pipeline::Pipeline;
use crate::progress::note;
use crate::recipe::{Recipe, model_path};
use crate::report::{self, Row};
use crate::run_directory::RunDirectory;
use crate::signals;
use clap::Args;
use lopper_engine::Result;
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
    /// Replace the result of an earlier run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    keep: KeepArgs,
}

impl Run {
    pub fn run(&self, common: &Common) -> Result<()> {
        let mut recipe = Recipe::read(&self.recipe)?;
        recipe.data.skip_bad_images |= self.skip_bad_images;
        recipe.data.limit = self.limit.or(recipe.data.limit);
        let name = self.recipe.file_stem().unwrap_or_default();
        let out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
        let Self { quick, force, keep, .. } = self;
        Walk { quick: *quick, data: self.data.as_deref(), out: &out, force: *force, keep }.run(recipe, common)
    }
}

/// What `run` and `demo` have in common.
pub struct Walk<'a> {
    /// Whether it is cut to a trial.
    pub quick: bool,
    /// The directory of its images, where that is not the recipe's.
    pub data: Option<&'a Path>,
    /// Where its models and report go.
    pub out: &'a Path,
    /// Whether an earlier result is replaced.
    pub force: bool,
    /// How trainings are kept and resumed.
    pub keep: &'a KeepArgs,
}

impl Walk<'_> {
    /// Runs `recipe`, prints its table and writes its report. Where it fails or is stopped, the report is that of the
    /// stages that are done.
    pub fn run(&self, recipe: Recipe, common: &Common) -> Result<()> {
        let recipe = if self.quick { recipe.quick() } else { recipe };
        let mut directory = RunDirectory::claim(self.out, self.force, self.keep)?;
        refuse_existing_plans(&recipe.stages, self.force || self.keep.resume)?;
        let device = common.device()?;
        let seed = common.seed.unwrap_or(recipe.seed);
        let splits = lopper_models::data::open(&recipe.data, self.data, seed)?;
        let binding = Binding::new(&recipe.stages, Some((&recipe.data, &splits)), seed, &device)?;
        let mut pipeline = Pipeline::new(&device, Some(splits), seed);
        let paths: Vec<PathBuf> =
            recipe.stages.iter().enumerate().map(|(i, stage)| model_path(self.out, i, stage)).collect();
        let outputs: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        pipeline.preflight(&recipe.stages, &outputs, &directory.checkpoint())?;
        directory.begin(&recipe, binding.clone(), self.keep)?;
        pipeline.keeping = Some(Keeping::new(directory.checkpoint(), self.keep, binding)?);
        signals::listen()?;
        let title = if recipe.title.is_empty() { "lopper" } else { &recipe.title };
        let mut rows: Vec<Row> = Vec::new();
        let ran = pipeline.run(&recipe, &mut directory, |row| {
            note(format_args!("{:>14}  done in {:.1} s", row.stage, row.seconds));
            rows.push(row.clone());
        });
        let unfinished = format!("{title} ({} of {} stages)", rows.len(), recipe.stages.len());
        match ran {
            Ok(_) => report::write(self.out, title, &rows)?,
            Err(error) if rows.is_empty() => return Err(error),
            Err(error) => {
                // What went wrong first is what the user has to know.
                let _ = report::write(self.out, &unfinished, &rows).map_err(note);
                return Err(error);
            }
        }
        common.print(&report::Stages { stages: &rows }, || {
            let (table, out) = (report::table(&rows), self.out.display());
            format!("\n{title}\n{table}\nModels, report.md, .json, .csv and .svg are in {out}\n")
        })
    }
}
