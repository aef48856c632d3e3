//! `lopper prune MODEL`.

use super::Common;
use super::explain::explain;
use super::file_names::table;
use super::open_data;
use super::prune_args::{Limits, Targets};
use super::step::{Layers, Output, TrainArgs, run_timed_stage};
use crate::output_file::refuse_existing;
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::criteria::Coupling;
use lopper_compress::prune::{Constants, PruneConfig, PrunePlan, PruneStage};
use lopper_compress::sparsify::SparsitySchedule;
use lopper_compress::{Context, Criterion};
use lopper_engine::{Error, Result, file, input};
use std::path::{Path, PathBuf};

/// Remove channels.
#[derive(Args)]
pub struct Prune {
    /// A model file
    model: PathBuf,
    #[arg(long, requires = "amount", help = criterion_help())]
    criterion: Option<Criterion>,
    /// Fraction of channels for the criterion to remove, in [0, 1]
    #[arg(long, requires = "criterion", group = "amount")]
    fraction: Option<f64>,
    /// Part of the channels of each layer that stays by the criterion: int(width · channels)
    #[arg(long, requires = "criterion", group = "amount")]
    width: Option<f64>,
    /// Number of channels of a layer that stays by the criterion; * in LAYER stands for any characters, and several are
    /// separated by commas
    #[arg(long, requires = "criterion", group = "amount", value_name = "LAYER=N", value_delimiter = ',', value_parser = width_of)]
    widths: Vec<(String, usize)>,
    /// global: the lowest scores of all layers; stage: of the layers whose images have one size; local: the same fraction of
    /// each layer
    #[arg(long, default_value = "global")]
    context: Context,
    /// Score of channels that several layers make: mean, sum, max, prod, first or gate (the last)
    #[arg(long, default_value = "mean")]
    coupling: Coupling,
    /// Dead channels with constant output: exact (later layers absorb it) or drop (it becomes zero)
    #[arg(long, default_value = "exact")]
    constants: Constants,
    /// Cuts, after each of which channels are scored anew: spread over the training, or one behind the other
    #[arg(long, requires = "amount", conflicts_with = "growth")]
    steps: Option<usize>,
    #[arg(long, requires = "criterion", help = format!("Remove channels step by step while training: {}", SparsitySchedule::names()))]
    growth: Option<SparsitySchedule>,
    /// With --growth: training steps between two removals [default: an epoch]
    #[arg(long, requires = "growth", value_name = "STEPS")]
    every: Option<usize>,
    #[command(flatten)]
    layers: Layers,
    /// Replay the pruning plan in this TOML file
    #[arg(long, conflicts_with_all = ["criterion", "context", "include", "exclude", "amount"])]
    plan: Option<PathBuf>,
    /// Write the pruning plan to this TOML file
    #[arg(long)]
    save_plan: Option<PathBuf>,
    /// Undo the cuts one at a time, before any fine-tuning, and write what each gives back to this .csv, with the plan in
    /// .plan.toml beside it unless --save-plan names a file [default: none]
    #[arg(long, value_name = "FILE", value_parser = table, conflicts_with = "growth", requires = "data")]
    explain: Option<PathBuf>,
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Prune {
    pub fn run(&self, common: &Common) -> Result<()> {
        self.explain.iter().try_for_each(|path| refuse_existing(path, self.output.force))?;
        let target = self.targets.target();
        // A target says how much goes, and magnitudes are at hand everywhere.
        let criterion = self.criterion.clone().or_else(|| target.as_ref().map(|_| Criterion::default()));
        let config = PruneConfig {
            criterion,
            fraction: self.fraction,
            width: self.width,
            widths: self.widths.iter().cloned().collect(),
            schedule: self.growth.clone(),
            every: self.every,
            context: self.context,
            coupling: self.coupling,
            constants: self.constants,
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
            seed: common.seed.unwrap_or(0),
            steps: self.steps,
            target,
            ..self.limits.config()
        };
        config.check()?;
        let plan = self.plan.as_deref().map(read_plan).transpose()?;
        let pruning = PruneStage { prune: Some(config), plan, save_plan: self.saved_plan() };
        // Removal while training needs training.
        let epochs = if self.growth.is_some() { 5 } else { 0 };
        let stage = Stage::of(pruning, self.train.config(epochs)?)?;
        let keeps = !self.targets.no_cache;
        run_timed_stage(
            "pruned",
            Some(&self.model),
            stage,
            (&self.output, keeps),
            Some(&self.train),
            common,
        )?;
        self.explain(common)
    }

    /// The file that the plan is written to: to explain it, one beside the explanation.
    fn saved_plan(&self) -> Option<PathBuf> {
        self.save_plan.clone().or_else(|| Some(self.explain.as_ref()?.with_extension("plan.toml")))
    }

    /// Explains the cuts, if that is asked for.
    fn explain(&self, common: &Common) -> Result<()> {
        let (Some(path), Some(saved)) = (&self.explain, self.saved_plan()) else { return Ok(()) };
        let graph = file::load(&self.model)?;
        let missing = || Error::invalid("--data is missing: an explanation needs images");
        let config = self.output.data().config(Some(&graph))?.ok_or_else(missing)?;
        let splits = open_data(&config, &graph, common)?;
        let plan = read_plan(&saved)?;
        explain(&graph, (&plan, self.constants), &splits.val, path, &common.device()?)
    }
}

fn criterion_help() -> String {
    let names = Criterion::names();
    format!(
        "How to score channels: {names}; without it, only channels that sparsification left dead are removed"
    )
}

/// Parses `LAYER=N`.
fn width_of(text: &str) -> std::result::Result<(String, usize), String> {
    let parts =
        text.split_once('=').and_then(|(layer, count)| Some((layer.to_string(), count.parse().ok()?)));
    parts.ok_or_else(|| format!("expected LAYER=N, found {text}"))
}

fn read_plan(path: &Path) -> Result<PrunePlan> {
    let text = input::read_to_string(path)?;
    toml::from_str(&text).map_err(|e| Error::file(path, e.to_string().trim_end()))
}
