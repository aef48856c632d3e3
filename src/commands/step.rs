//! What the commands that make one network from another share: each is a single stage of a recipe, written as
//! options.

use super::{Common, DataArgs};
use crate::pipeline::Pipeline;
use crate::recipe::{Stage, TrainConfig};
use crate::report;
use clap::{Args, ValueEnum};
use engine::train::{OptimizerConfig, Schedule};
use engine::{Error, Result, file};
use std::path::{Path, PathBuf};

/// The network that comes out, and the images that it is trained and measured on.
#[derive(Args)]
pub struct Output {
    /// The model file to write
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    data: DataArgs,
}

/// Which layers a technique may touch, by name or by the name of a module that holds them.
#[derive(Args)]
pub struct Layers {
    /// Only these layers, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub include: Vec<String>,
    /// All but these layers
    #[arg(long, value_delimiter = ',')]
    pub exclude: Vec<String>,
}

/// How the network is trained.
#[derive(Args)]
pub struct TrainArgs {
    /// Passes over the training images
    #[arg(long)]
    epochs: Option<usize>,
    /// The largest learning rate of the schedule
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// How gradients become steps
    #[arg(long, value_enum, default_value_t = OptimizerName::Adamw)]
    optimizer: OptimizerName,
    /// How strongly weights are pulled to zero; biases and batch norms are not
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f64,
    /// How the learning rate moves
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
    pub fn config(&self, epochs: usize) -> Result<Option<TrainConfig>> {
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
pub fn run_stage(
    name: &str,
    model: Option<&Path>,
    stage: Stage,
    output: &Output,
    common: &Common,
) -> Result<()> {
    let device = common.device()?;
    let seed = common.seed.unwrap_or(0);
    let before = model.map(file::load).transpose()?;
    let data = match (output.data.config(before.as_ref()), &before) {
        (None, _) if stage.train.is_some() => {
            return Err(Error::invalid("--data is missing: training needs images"));
        }
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
