//! Common part of the commands that turn one network into another: each is a single recipe stage, given as options.

use super::{Common, DataArgs};
use crate::binding::Binding;
use crate::images::open_images;
use crate::keeping::{KeepArgs, Keeping};
use crate::output_file::{OutputFile, refuse_existing_outputs};
use crate::pipeline::Pipeline;
use crate::recipe::{Stage, TrainConfig};
use crate::{report, signals};
use clap::{Args, ValueEnum};
use lopper_engine::train::{OptimizerConfig, Schedule};
use lopper_engine::{Error, Result, file};
use std::path::{Path, PathBuf};

/// The network to write, and the images to train and measure it on.
#[derive(Args)]
pub struct Output {
    /// The model file to write
    #[arg(long, value_parser = super::safetensors_path())]
    out: PathBuf,
    /// Overwrite the model file if it exists, and discard the checkpoint of an unfinished run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// Layers that a technique may change, by name or by the name of a module that contains them.
#[derive(Args)]
pub struct Layers {
    /// Only these layers, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub include: Vec<String>,
    /// All but these layers
    #[arg(long, value_delimiter = ',')]
    pub exclude: Vec<String>,
}

/// Options of training.
#[derive(Args)]
pub struct TrainArgs {
    /// Passes over the training images; 0 for no training
    #[arg(long)]
    epochs: Option<usize>,
    /// Largest learning rate of the schedule [default: 0.001]
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Optimizer [default: adamw]
    #[arg(long, value_enum)]
    optimizer: Option<OptimizerName>,
    /// Weight decay; biases and batch norms do not decay [default: 0.01]
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Learning rate schedule [default: one-cycle]
    #[arg(long, value_enum)]
    schedule: Option<ScheduleName>,
    /// Share of each target that is spread over all classes [default: 0]
    #[arg(long)]
    label_smoothing: Option<f64>,
    /// Largest norm of all gradients together; a larger one is scaled down to it [default: no limit]
    #[arg(long)]
    clip_norm: Option<f64>,
    #[command(flatten)]
    pub keep: KeepArgs,
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
    /// Constant rate
    Constant,
    /// Half a cosine, down to 0
    Cosine,
    /// Up and down again (fastai's one-cycle)
    OneCycle,
}

impl TrainArgs {
    /// Returns the training configuration, with `epochs` epochs unless `--epochs` is given, or `None` for 0 epochs.
    pub fn config(&self, epochs: usize) -> Result<Option<TrainConfig>> {
        let epochs = self.epochs.unwrap_or(epochs);
        if epochs == 0 {
            return match self.given() {
                Some(option) => {
                    Err(Error::invalid(format!("{option} applies to training only: give --epochs too")))
                }
                None => Ok(None),
            };
        }
        let (weight_decay, betas, eps) = (self.weight_decay.unwrap_or(0.01), [0.9, 0.999], 1e-8);
        let config = TrainConfig {
            epochs,
            learning_rate: self.learning_rate.unwrap_or(1e-3),
            optimizer: match self.optimizer.unwrap_or(OptimizerName::Adamw) {
                OptimizerName::Sgd => OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay },
                OptimizerName::Adam => OptimizerConfig::Adam { betas, eps, weight_decay },
                OptimizerName::Adamw => OptimizerConfig::AdamW { betas, eps, weight_decay },
            },
            schedule: match self.schedule.unwrap_or(ScheduleName::OneCycle) {
                ScheduleName::Constant => Schedule::Constant,
                ScheduleName::Cosine => Schedule::Cosine { warmup: 0.0 },
                ScheduleName::OneCycle => Schedule::one_cycle(),
            },
            label_smoothing: self.label_smoothing.unwrap_or(0.0),
            groups: Vec::new(),
            clip_norm: self.clip_norm,
        };
        config.check()?;
        Ok(Some(config))
    }

    /// Returns the first training option other than `--epochs` that was given.
    fn given(&self) -> Option<&'static str> {
        let options = [
            ("--learning-rate", self.learning_rate.is_some()),
            ("--optimizer", self.optimizer.is_some()),
            ("--weight-decay", self.weight_decay.is_some()),
            ("--schedule", self.schedule.is_some()),
            ("--label-smoothing", self.label_smoothing.is_some()),
            ("--clip-norm", self.clip_norm.is_some()),
            ("--resume", self.keep.resume),
        ];
        options.into_iter().find_map(|(option, given)| given.then_some(option))
    }
}

/// Runs `stage`, which starts from `model` unless it builds an architecture, and prints its row below that of the
/// original model. `keep` controls the checkpoints and resumption of its training, if any.
pub fn run_stage(
    name: &str,
    model: Option<&Path>,
    stage: Stage,
    output: &Output,
    keep: Option<&KeepArgs>,
    common: &Common,
) -> Result<()> {
    let keep = keep.filter(|_| stage.train.is_some());
    let resume = keep.is_some_and(|keep| keep.resume);
    let file = OutputFile::claim(&output.out, output.force, resume)?;
    refuse_existing_outputs(std::slice::from_ref(&stage), output.force || resume)?;
    let device = common.device()?;
    let seed = common.seed.unwrap_or(0);
    let before = model.map(file::load).transpose()?;
    let config = output.data.config(before.as_ref())?;
    let data = match (&config, &before) {
        (None, _) if stage.train.is_some() => {
            return Err(Error::invalid("--data is missing: training needs images"));
        }
        (None, _) => None,
        (Some(config), Some(graph)) => Some(super::open_data(config, graph, common)?),
        (Some(config), None) => Some(open_images(config, None, seed)?),
    };
    let stage = Stage { name: name.to_string(), from: model.map(|m| m.display().to_string()), ..stage };
    let stages = std::slice::from_ref(&stage);
    let mut pipeline = Pipeline::new(&device, data, seed);
    if let (Some(graph), Some(from)) = (&before, &stage.from) {
        pipeline.files.insert(from.clone(), graph.clone());
    }
    pipeline.preflight(stages, &[&output.out], file.checkpoint())?;
    if let Some(keep) = keep {
        let data = config.as_ref().zip(pipeline.data.as_ref());
        let binding = Binding::new(stages, data, seed, &device)?;
        pipeline.keeping = Some(Keeping::new(file.checkpoint().to_path_buf(), keep, binding)?);
        signals::listen()?;
    }
    file.forget(resume)?;
    let mut rows = Vec::new();
    if let (Some(graph), Some(path)) = (&before, model) {
        rows.push(pipeline.measure("before", graph, path)?);
    }
    rows.push(pipeline.stage(&stage, &output.out)?.row);
    pipeline.report_skipped();
    common.print(&report::Stages { stages: &rows }, || {
        format!("{}wrote {}", report::table(&rows), output.out.display())
    })?;
    pipeline.keeping.as_ref().map_or(Ok(()), Keeping::remove)
}
