//! `lopper report DIRECTORY`.

use super::rerun::recipe_of;
use super::{Common, DataOptions};
use crate::images::open_images;
use crate::other_images::OtherImages;
use crate::pipeline::Pipeline;
use crate::progress::note;
use crate::recipe::Recipe;
use crate::report::{About, Report, Seeds, short};
use crate::report_files;
use crate::run_directory::RunDirectory;
use crate::trial::Trial;
use clap::Args;
use lopper_engine::{Error, Result, input};
use lopper_models::data::Splits;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Write the report of a finished or interrupted run again.
///
/// Accuracies stay those of the run, and evaluations are made again on images that give the same ones. Latencies are measured on this machine, and what a report shows beyond them comes from
/// the model files, and from the images if they are at hand.
#[derive(Args)]
pub struct ReportAgain {
    /// Directory of the run
    directory: PathBuf,
    /// Directory with its images, or a table of them [default: the run's]
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    images: DataOptions,
}

/// The part of `report.json` that is read: how the run was made.
#[derive(Deserialize)]
struct Origin {
    run: About,
    #[serde(default)]
    seeds: Option<Seeds>,
}

impl ReportAgain {
    pub fn run(&self, common: &Common) -> Result<()> {
        let directory = RunDirectory::of_earlier_run(&self.directory)?;
        if directory.all_finished().is_empty() {
            return Err(Error::file(&self.directory, "no stage of the run is finished"));
        }
        let path = self.directory.join("report.json");
        let text = input::read_to_string(&path)?;
        let Origin { run: mut about, seeds } =
            serde_json::from_str(&text).map_err(|e| Error::file(&path, format!("damaged: {e}")))?;
        let device = common.device()?;
        let quick = about.command.iter().any(|argument| argument == "--quick");
        let mut recipe = recipe_of(&about, quick);
        let (data, other) = match &mut recipe {
            Ok(recipe) => self.open(recipe, &about)?,
            Err(error) => {
                note(format_args!("the run's recipe cannot be read: {error}; its images are not used"));
                Default::default()
            }
        };
        let stages = recipe.as_ref().map_or(&[][..], |recipe| &recipe.stages);
        if about.planned.is_empty() {
            about.planned = stages.iter().map(|stage| stage.name.clone()).collect();
        }
        about.resumed = directory.resumed().to_vec();
        let mut pipeline = Pipeline::new(&device, data, about.seed);
        pipeline.other = other;
        let rows = pipeline.again(directory.path(), directory.all_finished(), stages)?;
        let limit = recipe.as_ref().ok().and_then(|recipe| recipe.data.limit);
        let title = if about.title.is_empty() { "lopper" } else { &about.title };
        let title = Trial { quick, limit }.title(title);
        let (done, all) = (rows.len(), about.planned.len().max(rows.len()));
        let title = if done == all { title } else { format!("{title} ({done} of {all} stages)") };
        let report = Report { stages: rows, run: Some(about), seeds };
        report_files::write(directory.path(), &title, &report)?;
        common.print(&Report::brief(&report.stages), || {
            let (table, out) = (short(&report.stages), self.directory.display());
            format!("\n{title}\n{table}\nwrote report.html, .md, .json, .csv and .svg in {out}\n")
        })
    }

    /// Opens the images of the run: those of `--data`, or else those that it used, if they are still there; and those of
    /// other splits that stages are evaluated on.
    fn open(&self, recipe: &mut Recipe, about: &About) -> Result<(Option<Splits>, OtherImages)> {
        let config = &mut recipe.data;
        self.images.apply(config)?;
        let used = about.data.as_ref().and_then(|data| data.path.as_deref()).map(Path::new);
        let path = self.data.as_deref().or(used);
        if let Some(data) = &about.data
            && config.size.is_none()
        {
            config.size = Some(data.size);
        }
        let splits = match open_images(config, path, about.seed) {
            Ok(splits) => splits,
            Err(error) if self.data.is_none() => {
                note(format_args!("the images of the run are not at hand (--data): {error}"));
                return Ok(Default::default());
            }
            Err(error) => return Err(error),
        };
        let other = OtherImages::open(recipe, path, about.seed, &splits).unwrap_or_else(|error| {
            note(format_args!("evaluations stay as they were: {error}"));
            recipe.stages.iter_mut().for_each(|stage| stage.reporting.evaluate = None);
            OtherImages::default()
        });
        Ok((Some(splits), other))
    }
}
