//! `lopper prune MODEL`.

use super::Common;
use super::explain::explain;
use super::file_names::table;
use super::interactive::ask;
use super::open_data;
use super::prune_args::{Limits, Targets};
use super::step::{Layers, Output, TrainArgs, run_timed_stage};
use crate::latency::test_images;
use crate::output_file::refuse_existing;
use crate::pipeline::EVIDENCE_BATCHES;
use crate::progress::note;
use crate::recipe::Stage;
use clap::Args;
use lopper::machine::{MachineClock, NetworkClock};
use lopper_compress::criteria::{Coupling, Evidence};
use lopper_compress::prune::{Constants, Proposals, PruneConfig, PrunePlan, PruneStage};
use lopper_compress::sparsify::SparsitySchedule;
use lopper_compress::techniques::{Attached, Clock};
use lopper_compress::{Context, Criterion};
use lopper_engine::{Device, Error, Graph, Result, file, input};
use lopper_kernels::cuda::cache;
use lopper_models::data::Splits;
use std::io::{IsTerminal, stderr, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Write the scores of all channels, joined and of each layer that makes them, to this JSON file [default: none]
    #[arg(long, value_name = "FILE", requires = "amount", conflicts_with_all = ["plan", "growth", "steps"])]
    save_scores: Option<PathBuf>,
    /// Show each cut of the plan with what it saves, and ask on the terminal whether it is made
    #[arg(long, conflicts_with_all = ["growth", "steps", "save_scores"])]
    interactive: bool,
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
        let config = self.config(common);
        config.check()?;
        let plan = self.plan.as_deref().map(read_plan).transpose()?;
        let (config, plan) = match self.interactive {
            true => match self.chosen(config, plan, common)? {
                Some(plan) => {
                    (PruneConfig { constants: self.constants, ..PruneConfig::default() }, Some(plan))
                }
                None => return Ok(()),
            },
            false => (config, plan),
        };
        let (save_plan, save_scores) = (self.saved_plan(), self.save_scores.clone());
        let pruning = PruneStage { prune: Some(config), plan, save_plan, save_scores };
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

    /// The options of pruning, the plan aside.
    fn config(&self, common: &Common) -> PruneConfig {
        let target = self.targets.target();
        // A target says how much goes, and magnitudes are at hand everywhere.
        let criterion = self.criterion.clone().or_else(|| target.as_ref().map(|_| Criterion::default()));
        PruneConfig {
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
        }
    }

    /// The cuts of `plan`, or of the plan that `config` makes, that the user wants; none if there is none.
    fn chosen(
        &self,
        config: PruneConfig,
        plan: Option<PrunePlan>,
        common: &Common,
    ) -> Result<Option<PrunePlan>> {
        if !stdin().is_terminal() {
            return Err(Error::invalid(
                "--interactive: asks on a terminal, which standard input is not: --save-plan writes a plan that can be \
                 edited, and --plan replays it",
            ));
        }
        // Before any question: an answer is work.
        self.output.refuse_existing()?;
        self.saved_plan().iter().try_for_each(|path| refuse_existing(path, self.output.force))?;
        let (graph, device) = (file::load(&self.model)?, common.device()?);
        let folder = (!self.targets.no_cache).then(cache::folder);
        let machine = Arc::new(MachineClock::new(&device, folder, |text| note(text)));
        let shared: Arc<dyn Clock> = machine.clone();
        let config = PruneConfig { clock: Attached::new(&shared), ..config };
        let evidence = self.evidence(&config, &graph, &device, common)?;
        let (plan, scores) = match plan {
            Some(plan) => (plan, Vec::new()),
            None if config.criterion.is_none() => (config.plan(&graph, None)?, Vec::new()),
            None => (config.plan(&graph, evidence.as_ref())?, config.scores(&graph, evidence.as_ref())?),
        };
        let image = graph.info.input;
        let clock = NetworkClock::measure(&machine, &graph, image, &test_images(image.iter().product()))?;
        let ms = |graph: &Graph| clock.ms(graph, graph.info.input, &device);
        let proposals = Proposals::new(&graph, &plan, self.constants)?;
        let plan = ask(proposals, &scores, (&ms, ms(&graph)?), &mut stdin().lock(), &mut stderr().lock())?;
        if plan.groups.is_empty() {
            note("nothing is cut, and nothing is written");
            return Ok(None);
        }
        Ok(Some(plan))
    }

    /// What the criterion of `config` has to know besides the weights of `graph`.
    fn evidence(
        &self,
        config: &PruneConfig,
        graph: &Graph,
        device: &Device,
        common: &Common,
    ) -> Result<Option<Evidence>> {
        let Some(criterion) = config.criterion.as_ref().filter(|criterion| criterion.needs_data()) else {
            return Ok(None);
        };
        let mut train = self.images(graph, common, "a criterion of more than weights")?.train;
        let sites = config.sites(graph)?;
        Evidence::measure(criterion, graph, &sites, &mut train, EVIDENCE_BATCHES, device).map(Some)
    }

    /// The images of `--data`, which `what` needs.
    fn images(&self, graph: &Graph, common: &Common, what: &str) -> Result<Splits> {
        let missing = || Error::invalid(format!("--data is missing: {what} needs images"));
        let config = self.output.data().config(Some(graph))?.ok_or_else(missing)?;
        open_data(&config, graph, common)
    }

    /// The file that the plan is written to: to explain it, one beside the explanation.
    fn saved_plan(&self) -> Option<PathBuf> {
        self.save_plan.clone().or_else(|| Some(self.explain.as_ref()?.with_extension("plan.toml")))
    }

    /// Explains the cuts, if that is asked for.
    fn explain(&self, common: &Common) -> Result<()> {
        let (Some(path), Some(saved)) = (&self.explain, self.saved_plan()) else { return Ok(()) };
        let graph = file::load(&self.model)?;
        let splits = self.images(&graph, common, "an explanation")?;
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
