//! The commands that make one network from another: each is a single stage of a recipe, written as options.

use super::{Common, DataArgs};
use crate::pipeline::Pipeline;
use crate::recipe::{Fold as FoldStage, Stage, TrainConfig};
use crate::report;
use clap::{Args, ValueEnum};
use compress::distill::{DistillConfig, DistillLoss};
use compress::sparsify::{Context, Criterion, Granularity, SparsifyConfig};
use compress::prune::{Constants, PruneConfig, PrunePlan};
use compress::{CompactConfig, FactorizeConfig};
use engine::train::{OptimizerConfig, Schedule};
use engine::{Error, Result, atomic, file};
use std::path::{Path, PathBuf};

/// The network that comes out, and the images that it is trained and measured on.
#[derive(Args)]
struct Output {
    /// The model file to write
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    data: DataArgs,
}

/// How the network is trained.
#[derive(Args)]
struct TrainArgs {
    /// Passes over the training images
    #[arg(long)]
    epochs: Option<usize>,
    /// The largest learning rate of the schedule
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    #[arg(long, value_enum, default_value_t = OptimizerName::Adamw)]
    optimizer: OptimizerName,
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f64,
    #[arg(long, value_enum, default_value_t = ScheduleName::OneCycle)]
    schedule: ScheduleName,
    /// Share of each target that is spread over all classes
    #[arg(long, default_value_t = 0.0)]
    label_smoothing: f32,
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    /// Stochastic gradient descent with Nesterov momentum 0.9
    Sgd,
    /// Adam
    Adam,
    /// Adam with decoupled weight decay
    Adamw,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// The same rate throughout
    Constant,
    /// Half a cosine down to 0
    Cosine,
    /// Up and down again (fastai's one-cycle)
    OneCycle,
}

impl TrainArgs {
    /// The training, or none for no epochs.
    fn config(&self, epochs: usize) -> Result<Option<TrainConfig>> {
        let epochs = self.epochs.unwrap_or(epochs);
        if epochs == 0 {
            return Ok(None);
        }
        let (weight_decay, betas, eps) = (self.weight_decay, [0.9, 0.999], 1e-8);
        let config = TrainConfig {
            epochs,
            learning_rate: self.learning_rate,
            optimizer: match self.optimizer {
                OptimizerName::Sgd => OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay },
                OptimizerName::Adam => OptimizerConfig::Adam { betas, eps, weight_decay },
                OptimizerName::Adamw => OptimizerConfig::AdamW { betas, eps, weight_decay },
            },
            schedule: match self.schedule {
                ScheduleName::Constant => Schedule::Constant,
                ScheduleName::Cosine => Schedule::Cosine { warmup: 0.0 },
                ScheduleName::OneCycle => Schedule::one_cycle(),
            },
            label_smoothing: self.label_smoothing,
        };
        config.check()?;
        Ok(Some(config))
    }
}

/// Runs `stage`, which starts from `model` unless it builds an architecture, and prints its row beside that of
/// the model before it.
fn run_stage(name: &str, model: Option<&Path>, stage: Stage, output: &Output, common: &Common) -> Result<()> {
    let device = common.device()?;
    let seed = common.seed.unwrap_or(0);
    let before = model.map(file::load).transpose()?;
    let data = match (output.data.config(before.as_ref()), &before) {
        (None, _) if stage.train.is_some() => return Err(Error::invalid("--data is missing: training needs images")),
        (None, _) => None,
        (Some(config), Some(graph)) => Some(super::open_data(&config, graph, common)?),
        (Some(config), None) => Some(models::data::open(&config, None, seed)?),
    };
    let mut pipeline = Pipeline::new(&device, data, seed);
    let mut rows = Vec::new();
    if let (Some(graph), Some(path)) = (&before, model) {
        rows.push(pipeline.measure("before", graph, path)?);
    }
    let stage = Stage { name: name.to_string(), from: model.map(|m| m.display().to_string()), ..stage };
    rows.push(pipeline.stage(&stage, &output.out)?.row);
    pipeline.report_skipped();
    common.print(&rows, || format!("{}wrote {}", report::table(&rows), output.out.display()))
}

/// Train a network from scratch, or an existing one further.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("start").required(true).args(["arch", "model"]))]
pub struct Train {
    /// The architecture (`lopper summary help` lists them)
    #[arg(long)]
    arch: Option<String>,
    /// Width multiplier of the architecture
    #[arg(long, requires = "arch")]
    width: Option<f64>,
    /// A model file to train further
    #[arg(long)]
    model: Option<PathBuf>,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Train {
    pub fn run(&self, common: &Common) -> Result<()> {
        let train = self.train.config(5)?;
        let stage = Stage { arch: self.arch.clone(), width: self.width, train, ..Stage::default() };
        run_stage("trained", self.model.as_deref(), stage, &self.output, common)
    }
}

/// Train a network to imitate a teacher.
#[derive(Args)]
pub struct Distill {
    /// The student, a model file
    model: PathBuf,
    /// The teacher, a model file
    #[arg(long)]
    teacher: PathBuf,
    /// Share of distillation in the loss
    #[arg(long, default_value_t = 0.5)]
    weight: f32,
    /// Softens the teacher's answers
    #[arg(long, default_value_t = 5.0)]
    temperature: f32,
    /// What is compared: soft_targets or logits
    #[arg(long, default_value = "soft_targets")]
    loss: DistillLoss,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Distill {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = DistillConfig {
            weight: self.weight,
            loss: self.loss,
            temperature: self.temperature,
            ..DistillConfig::default()
        };
        let teacher = Some(self.teacher.display().to_string());
        let stage = Stage { distill: Some(config), teacher, train: self.train.config(5)?, ..Stage::default() };
        run_stage("distilled", Some(&self.model), stage, &self.output, common)
    }
}

/// Set weights to zero.
#[derive(Args)]
pub struct Sparsify {
    /// A model file
    model: PathBuf,
    /// Fraction of groups to drop, in [0, 1]
    #[arg(long)]
    sparsity: f64,
    /// What lives and dies together: weight, kernel, filter, row or column
    #[arg(long, default_value = "filter")]
    granularity: Granularity,
    /// global: the least of all layers; local: the same fraction of each
    #[arg(long, default_value = "global")]
    context: Context,
    /// large_final (magnitude), random, taylor or batch_norm_gamma
    #[arg(long, default_value = "large_final")]
    criterion: Criterion,
    /// Only these layers
    #[arg(long, value_delimiter = ',')]
    include: Vec<String>,
    /// All but these layers
    #[arg(long, value_delimiter = ',')]
    exclude: Vec<String>,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Sparsify {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = SparsifyConfig {
            granularity: self.granularity,
            context: self.context,
            criterion: self.criterion,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            seed: common.seed.unwrap_or(0),
            ..SparsifyConfig::new(self.sparsity)
        };
        config.check()?;
        let stage = Stage { sparsify: Some(config), train: self.train.config(5)?, ..Stage::default() };
        run_stage("sparsified", Some(&self.model), stage, &self.output, common)
    }
}

/// Remove channels.
#[derive(Args)]
pub struct Prune {
    /// A model file
    model: PathBuf,
    /// What a channel is worth; without it, channels that sparsification left dead go, and no others
    #[arg(long, requires = "fraction")]
    criterion: Option<Criterion>,
    /// Fraction of channels to remove by the criterion, in [0, 1]
    #[arg(long, requires = "criterion")]
    fraction: Option<f64>,
    /// global: the least of all layers; local: the same fraction of each
    #[arg(long, default_value = "global")]
    context: Context,
    /// A dead channel that is a constant: exact (readers absorb it) or drop (it becomes zero)
    #[arg(long, default_value = "exact")]
    constants: Constants,
    /// Only these layers
    #[arg(long, value_delimiter = ',')]
    include: Vec<String>,
    /// All but these layers
    #[arg(long, value_delimiter = ',')]
    exclude: Vec<String>,
    /// Replay the plan in this TOML file
    #[arg(long, conflicts_with_all = ["criterion", "include", "exclude"])]
    plan: Option<PathBuf>,
    /// Write the plan to this TOML file
    #[arg(long)]
    save_plan: Option<PathBuf>,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Prune {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = PruneConfig {
            criterion: self.criterion,
            fraction: self.fraction,
            context: self.context,
            constants: self.constants,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            seed: common.seed.unwrap_or(0),
        };
        config.check()?;
        let plan = self.plan.as_deref().map(read_plan).transpose()?;
        if let Some(path) = &self.save_plan {
            let graph = file::load(&self.model)?;
            let plan = plan.clone().map_or_else(|| config.plan(&graph, None), Ok)?;
            let text = toml::to_string(&plan).map_err(|e| Error::file(path, e))?;
            atomic::write(path, |w| w.write_all(text.as_bytes()))?;
        }
        let stage = Stage { prune: Some(config), plan, train: self.train.config(0)?, ..Stage::default() };
        run_stage("pruned", Some(&self.model), stage, &self.output, common)
    }
}

fn read_plan(path: &Path) -> Result<PrunePlan> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    toml::from_str(&text).map_err(|e| Error::file(path, e.to_string().trim_end()))
}

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
        run_stage("folded", Some(&self.model), stage, &self.output, common)
    }
}

/// Split linear layers in two.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("rank").required(true).args(["fraction", "energy"]))]
pub struct Factorize {
    /// A model file
    model: PathBuf,
    /// Fraction of the full rank to remove, in [0, 1)
    #[arg(long)]
    fraction: Option<f64>,
    /// Share of the squared singular values to keep, in [0, 1]
    #[arg(long)]
    energy: Option<f64>,
    /// Layers too that become no smaller
    #[arg(long)]
    force: bool,
    /// Only these layers
    #[arg(long, value_delimiter = ',')]
    include: Vec<String>,
    /// All but these layers
    #[arg(long, value_delimiter = ',')]
    exclude: Vec<String>,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Factorize {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = FactorizeConfig {
            fraction: self.fraction,
            energy: self.energy,
            force: self.force,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
        };
        config.check()?;
        let stage = Stage { factorize: Some(config), train: self.train.config(0)?, ..Stage::default() };
        run_stage("factorized", Some(&self.model), stage, &self.output, common)
    }
}

/// Compute live channels only.
#[derive(Args)]
pub struct Compact {
    /// A model file with dead channels
    model: PathBuf,
    /// Fraction of a convolution's weights that has to go for it to be worth a gather and a scatter
    #[arg(long, default_value_t = CompactConfig::default().min_saving)]
    min_saving: f64,
    #[command(flatten)]
    output: Output,
}

impl Compact {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = CompactConfig { min_saving: self.min_saving, ..CompactConfig::default() };
        config.check()?;
        let stage = Stage { compact: Some(config), ..Stage::default() };
        run_stage("compacted", Some(&self.model), stage, &self.output, common)
    }
}
