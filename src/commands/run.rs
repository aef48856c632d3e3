//! `lopper run RECIPE`.

use super::{Common, DataOptions};
use crate::binding::{Binding, differences};
use crate::clock::utc;
use crate::digest;
use crate::history::History;
use crate::images::{open_for, open_images, without_classes};
use crate::keeping::{KeepArgs, Keeping};
use crate::other_images::OtherImages;
use crate::output_file::refuse_existing_outputs;
use crate::pipeline::Pipeline;
use crate::progress::note;
use crate::recipe::{FULL, Recipe, model_path};
use crate::report::{About, ModelHash, Report, Seeds, published_text, short};
use crate::report_files;
use crate::run_directory::RunDirectory;
use crate::signals;
use crate::stage_error::in_stage;
use crate::trial::Trial;
use clap::Args;
use lopper_engine::{Error, Result, file};
use lopper_models::data::Splits;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Run a recipe: a built-in one on your images, or your own.
#[derive(Args)]
pub struct Run {
    /// A built-in recipe (`lopper recipes` lists them), or a TOML file with one
    recipe: PathBuf,
    /// Profile of the recipe: full is the recipe as it is written, quick ends in minutes [default: quick, if the recipe
    /// has it]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Directory with its images, or a table of them [default: the recipe's `data.path`]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Directory for model files and the report [default: runs/NAME, after the recipe's file]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Short trial: one epoch per training, and 100 images per class unless limited otherwise
    #[arg(long)]
    quick: bool,
    /// Replace the result of an earlier run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    images: DataOptions,
    #[command(flatten)]
    keep: KeepArgs,
}

impl Run {
    pub fn run(&self, common: &Common) -> Result<()> {
        let mut recipe = Recipe::read_with_seed(&self.recipe, self.profile.as_deref(), common.seed)?;
        self.images.apply(&mut recipe.data)?;
        let name = self.recipe.file_stem().unwrap_or_default();
        let out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
        let Self { quick, force, keep, .. } = self;
        let walk =
            Walk { quick: *quick, data: self.data.as_deref(), out: &out, force: *force, keep, repeats: None };
        match recipe.seeds {
            1 => walk.run(recipe, common),
            seeds => self.repeat(&walk, recipe, seeds, common),
        }
    }

    /// Runs the recipe with `seeds` seeds, the first in the directory of `walk` and the others in directories inside it,
    /// and adds the means to the report of the first.
    fn repeat(&self, walk: &Walk, recipe: Recipe, seeds: u32, common: &Common) -> Result<()> {
        let first = common.seed.unwrap_or(recipe.seed);
        let mut done = walk.walk(recipe, common)?;
        let (mut numbers, mut reports) = (vec![first], vec![done.report.clone()]);
        for seed in (first..).take(seeds as usize).skip(1) {
            let mut recipe = Recipe::read_with_seed(&self.recipe, self.profile.as_deref(), Some(seed))?;
            self.images.apply(&mut recipe.data)?;
            let out = walk.out.join(format!("seed-{seed}"));
            note(format_args!("seed {seed}, in {}", out.display()));
            let common = Common { seed: Some(seed), ..common.clone() };
            reports.push(Walk { out: &out, ..*walk }.walk(recipe, &common)?.report);
            numbers.push(seed);
        }
        done.report.seeds =
            Seeds::of(&numbers, &reports.iter().map(|report| &report.stages[..]).collect::<Vec<_>>());
        report_files::write(walk.out, &done.title, &done.report)?;
        common
            .print(&Report { seeds: done.report.seeds.clone(), ..Report::brief(&done.report.stages) }, || {
                done.text(walk.out)
            })
    }
}

/// A finished run.
pub struct Done {
    title: String,
    pub report: Report,
    remark: String,
}

impl Done {
    /// The table and what belongs to it.
    fn text(&self, out: &Path) -> String {
        let Self { title, report, remark } = self;
        let (table, out) = (short(&report.stages), out.display());
        let published = published_text(&report.stages);
        let published = if published.is_empty() { published } else { format!("\n{published}") };
        let seeds = report.seeds.as_ref().map_or(String::new(), |seeds| format!("\n{}", seeds.text()));
        let scaled = report.run.as_ref().map_or(String::new(), About::scaled_down);
        format!(
            "\n{title}\n{table}{published}{seeds}{scaled}\n{remark}Models, history.csv and report.html, .md, .json, .csv and \
             .svg are in {out}\n"
        )
    }
}

/// Common part of `run` and `demo`.
pub struct Walk<'a> {
    /// Whether to shorten the recipe to a trial.
    pub quick: bool,
    /// Directory of the images, if not the recipe's.
    pub data: Option<&'a Path>,
    /// Directory for models and the report.
    pub out: &'a Path,
    /// Whether to replace an earlier result.
    pub force: bool,
    /// Checkpoint and resume options.
    pub keep: &'a KeepArgs,
    /// The conditions of the run that this one repeats, if it does, and whether other images are accepted.
    pub repeats: Option<(&'a BTreeMap<String, String>, bool)>,
}

impl Walk<'_> {
    /// Runs `recipe` and prints its table.
    pub fn run(&self, recipe: Recipe, common: &Common) -> Result<()> {
        let done = self.walk(recipe, common)?;
        common.print(&Report::brief(&done.report.stages), || done.text(self.out))
    }

    /// Runs `recipe` and writes its report after every stage: if the run fails or is stopped, it covers the finished
    /// stages.
    pub fn walk(&self, recipe: Recipe, common: &Common) -> Result<Done> {
        let mut recipe = if self.quick { recipe.quick() } else { recipe };
        let mut directory = RunDirectory::claim(self.out, self.force, self.keep)?;
        refuse_existing_outputs(&recipe.stages, self.force || self.keep.resume)?;
        let device = common.device()?;
        let seed = common.seed.unwrap_or(recipe.seed);
        tell_scaling(&recipe);
        let splits = self.images(&mut recipe, seed)?;
        let other = OtherImages::open(&recipe, self.data, seed, &splits)?;
        let binding = Binding::new(&recipe.stages, Some((&recipe.data, &splits)), seed, &device)?;
        self.check_repeats(&binding)?;
        let mut pipeline = Pipeline::new(&device, Some(splits), seed);
        pipeline.other = other;
        let paths: Vec<PathBuf> =
            recipe.stages.iter().enumerate().map(|(i, stage)| model_path(self.out, i, stage)).collect();
        let outputs: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        pipeline.preflight(&recipe.stages, &outputs, &directory.checkpoint())?;
        directory.begin(&recipe, binding.clone(), self.keep)?;
        let conditions = binding.items().clone();
        let keeping = Keeping::new(directory.checkpoint(), self.keep, binding)?;
        if self.keep.resume {
            directory.resume(&recipe, keeping.position(), utc())?;
        }
        pipeline.keeping = Some(keeping);
        pipeline.history = Some(History::in_directory(self.out));
        pipeline.detailed = true;
        signals::listen()?;
        let trial = Trial { quick: self.quick, limit: recipe.data.limit };
        let title = if recipe.title.is_empty() { "lopper" } else { &recipe.title };
        let title = &trial.title(title);
        let mut about = About::new(&recipe, seed, self.data, pipeline.data.as_ref(), &device);
        about.resumed = directory.resumed().to_vec();
        about.binding = conditions;
        let mut report = Report { stages: Vec::new(), run: Some(about), seeds: None };
        pipeline.run(&recipe, &mut directory, |rows| {
            if let Some(row) = rows.last() {
                note(format_args!("{:>14}  done in {:.1} s", row.stage, row.seconds));
            }
            if let Some(about) = &mut report.run {
                for (row, path) in rows.iter().zip(&paths).skip(about.models.len()) {
                    about.models.push(ModelHash { stage: row.stage.clone(), sha256: digest::of_file(path)? });
                }
            }
            report.stages = rows.to_vec();
            let (done, all) = (rows.len(), recipe.stages.len());
            let unfinished = format!("{title} ({done} of {all} stages)");
            let title = if done == all { title } else { &unfinished };
            match report_files::write(self.out, title, &report) {
                // The stages so far are safe: the next report covers them.
                Err(error) if done < all => {
                    note(format_args!("no report written: {error}; the run continues"))
                }
                written => written?,
            }
            Ok(())
        })?;
        Ok(Done { title: title.clone(), report, remark: trial.remark() })
    }

    /// Notes what differs from the run that this one repeats, if it does.
    ///
    /// # Errors
    /// If its images are others, and these are not accepted.
    fn check_repeats(&self, binding: &Binding) -> Result<()> {
        let Some((expected, anyway)) = self.repeats else { return Ok(()) };
        let differing = differences(expected, binding.items());
        if differing.is_empty() {
            return Ok(());
        }
        let list = differing.join("; ");
        if ["images", "data options"].iter().any(|name| expected.get(*name) != binding.items().get(*name))
            && !anyway
        {
            return Err(Error::invalid(format!(
                "the images are not those of the report ({list}): --data names others, --anyway repeats it on these"
            )));
        }
        note(format_args!("repeated under other conditions ({list}): the bits may differ"));
        Ok(())
    }

    /// Opens the images of `recipe`, prepared for the first network that it reads from a model file.
    fn images(&self, recipe: &mut Recipe, seed: u64) -> Result<Splits> {
        let Recipe { data, stages, .. } = recipe;
        let is_stage = |name: &str| stages.iter().any(|stage| stage.name == name);
        let mut reads = stages.iter().filter_map(|stage| Some((stage, stage.from.as_deref()?)));
        match reads.find(|(_, name)| !is_stage(name)) {
            None => open_images(data, self.data, seed),
            Some((stage, path)) => {
                let mut network = file::load(path).map_err(|e| in_stage(stage, e))?;
                if stage.new_head {
                    network = without_classes(&network);
                }
                open_for(data, self.data, seed, (&network, path))
            }
        }
    }
}

/// Says which profile is run, if the recipe has several, and what it scales down.
fn tell_scaling(recipe: &Recipe) {
    let scaling = recipe.scaling();
    if !scaling.is_empty() {
        let full = if recipe.profile == FULL { "" } else { " (--profile full runs all of it)" };
        note(format_args!("profile {}, scaled down{full}: {scaling}", recipe.profile));
    }
}
