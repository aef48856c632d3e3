//! Common part of the commands that turn one network into another: each is a single recipe stage, given as options.

use super::file_names::table;
use super::{Common, DataArgs};
use crate::binding::Binding;
use crate::history::History;
use crate::images::{open_images, without_classes};
use crate::keeping::{KeepArgs, Keeping};
use crate::latency::ROUNDS;
use crate::machine::MachineClock;
use crate::output_file::{OutputFile, refuse_existing, refuse_existing_outputs};
use crate::pipeline::Pipeline;
use crate::progress::note;
use crate::recipe::{ClassWeights, Stage, TrainConfig};
use crate::report::{Report, short};
use crate::signals;
use clap::{Args, ValueEnum};
use lopper_engine::train::{
    EarlyStopping, LayerRates, Layers as Chosen, Monitor, OptimizerConfig, Schedule, Thaw,
};
use lopper_engine::{Error, Graph, Result, atomic, file};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The network to write, and the images to train and measure it on.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// The model file to write
    #[arg(long, value_parser = super::safetensors_path())]
    out: PathBuf,
    /// Overwrite the model file if it exists, and discard the checkpoint of an unfinished run
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    data: DataArgs,
}

impl Output {
    /// The images.
    pub fn data(&self) -> &DataArgs {
        &self.data
    }

    /// Returns an error if the model file exists and may not be overwritten.
    pub fn refuse_existing(&self) -> Result<()> {
        refuse_existing(&self.out, self.force)
    }
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
#[command(next_help_heading = "Training")]
pub struct TrainArgs {
    /// Passes over the training images; 0 for no training [default: 5; of prune and factorize 0]
    #[arg(long)]
    epochs: Option<usize>,
    /// Largest learning rate of the schedule [default: 0.001]
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Largest learning rates by layer instead: body, head or patterns of layer names with a rate, or FIRST..LAST,
    /// which grows from layer to layer, or FIRST..LAST/PARTS, such as body=1e-5..1e-4,head=1e-3
    #[arg(long, value_name = "LAYERS=RATE", conflicts_with = "learning_rate")]
    rates: Option<LayerRates>,
    /// Layers that stay as they are in this training: body, head or patterns of layer names, separated by commas. Batch
    /// norms are trained nevertheless
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    freeze: Vec<Chosen>,
    /// Frozen layers to train from an epoch on, or behind a share of the training, in order, such as layer4@2,body@50%
    #[arg(long, value_name = "LAYERS@WHEN", value_delimiter = ',', requires = "freeze")]
    unfreeze: Vec<Thaw>,
    /// Optimizer [default: adamw]
    #[arg(long, value_enum)]
    optimizer: Option<OptimizerName>,
    /// Weight decay; biases and batch norms do not decay [default: 0.01]
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Learning rate schedule: constant, cosine, one-cycle, exponential, polynomial, step, warm-restarts or piecewise,
    /// with the keys of a recipe behind commas, such as 'step, factor = 0.1, at = [0.5, 0.75]' [default: one-cycle]
    #[arg(long, value_parser = schedule)]
    schedule: Option<Schedule>,
    /// Share of each target that is spread over all classes [default: 0]
    #[arg(long)]
    label_smoothing: Option<f64>,
    /// Weights of the classes in the loss: balanced, so that all classes count alike, or a number for each class,
    /// separated by commas [default: all images count alike]
    #[arg(long, value_name = "WEIGHTS")]
    class_weights: Option<ClassWeights>,
    /// Largest norm of all gradients together; a larger one is scaled down to it [default: no limit]
    #[arg(long)]
    clip_norm: Option<f64>,
    /// Batches whose gradients make one step, as one larger batch would [default: 1]
    #[arg(long, value_name = "BATCHES")]
    accumulate: Option<usize>,
    /// Average the weights over the steps with this decay, such as 0.999; the average is validated and written
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// Number of different epochs: order and augmentation of the images repeat after so many, and a teacher's logits with
    /// them [default: all differ]
    #[arg(long, value_name = "EPOCHS")]
    draws: Option<usize>,
    /// End after this many epochs, as a part of the whole training: its schedule is that of --epochs [default: none]
    #[arg(long, value_name = "EPOCHS")]
    stop_after: Option<f64>,
    /// With --save-best or --patience: metric of the validation images by which epochs are compared [default: top1]
    #[arg(long, value_enum)]
    monitor: Option<MonitorName>,
    /// Write the network of the best epoch instead of that of the last
    #[arg(long)]
    save_best: bool,
    /// Stop after this many epochs without improvement
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<usize>,
    /// With --patience: smallest gain that counts as an improvement [default: 0]
    #[arg(long, requires = "patience", value_name = "GAIN")]
    min_delta: Option<f64>,
    /// Write a line per epoch with losses, metrics, rates, sparsity, speed and memory to this .csv, and the sparsity of
    /// each layer to a .sparsity.csv beside it
    #[arg(long, value_name = "FILE", value_parser = table)]
    history: Option<PathBuf>,
    #[command(flatten)]
    keep: KeepArgs,
}

/// Optimizers on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub enum OptimizerName {
    /// Stochastic gradient descent with Nesterov momentum 0.9
    Sgd,
    /// Adam
    Adam,
    /// Adam with decoupled weight decay
    Adamw,
}

/// Metrics on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum MonitorName {
    /// Accuracy
    Top1,
    /// Cross entropy, the smaller the better
    Loss,
    /// Mean F1 of the classes
    MacroF1,
    /// Mean F1, weighted by the images of each class
    WeightedF1,
}

impl MonitorName {
    fn monitor(self) -> Monitor {
        match self {
            Self::Top1 => Monitor::Top1,
            Self::Loss => Monitor::Loss,
            Self::MacroF1 => Monitor::MacroF1,
            Self::WeightedF1 => Monitor::WeightedF1,
        }
    }
}

impl OptimizerName {
    /// Returns the configuration with this weight decay.
    pub fn config(self, weight_decay: f64) -> OptimizerConfig {
        let (betas, eps) = ([0.9, 0.999], 1e-8);
        match self {
            Self::Sgd => OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay },
            Self::Adam => OptimizerConfig::Adam { betas, eps, weight_decay },
            Self::Adamw => OptimizerConfig::AdamW { betas, eps, weight_decay },
        }
    }
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
        let config = TrainConfig {
            epochs,
            learning_rate: self.learning_rate.or(self.rates.is_none().then_some(1e-3)),
            rates: self.rates.clone(),
            freeze: self.freeze.clone(),
            unfreeze: self.unfreeze.clone(),
            optimizer: self
                .optimizer
                .unwrap_or(OptimizerName::Adamw)
                .config(self.weight_decay.unwrap_or(0.01)),
            schedule: self.schedule.clone().unwrap_or_else(Schedule::one_cycle),
            label_smoothing: self.label_smoothing.unwrap_or(0.0),
            class_weights: self.class_weights.clone(),
            groups: Vec::new(),
            clip_norm: self.clip_norm,
            accumulate: self.accumulate.unwrap_or(1),
            ema: self.ema,
            draws: self.draws,
            stop_after: self.stop_after,
            monitor: self.monitor.map(MonitorName::monitor),
            save_best: self.save_best,
            early_stopping: self
                .patience
                .map(|patience| EarlyStopping { patience, min_delta: self.min_delta.unwrap_or(0.0) }),
        };
        config.check()?;
        Ok(Some(config))
    }

    /// Returns the first training option other than `--epochs` that was given.
    fn given(&self) -> Option<&'static str> {
        let options = [
            ("--learning-rate", self.learning_rate.is_some()),
            ("--rates", self.rates.is_some()),
            ("--freeze", !self.freeze.is_empty()),
            ("--optimizer", self.optimizer.is_some()),
            ("--weight-decay", self.weight_decay.is_some()),
            ("--schedule", self.schedule.is_some()),
            ("--label-smoothing", self.label_smoothing.is_some()),
            ("--class-weights", self.class_weights.is_some()),
            ("--clip-norm", self.clip_norm.is_some()),
            ("--accumulate", self.accumulate.is_some()),
            ("--ema", self.ema.is_some()),
            ("--draws", self.draws.is_some()),
            ("--stop-after", self.stop_after.is_some()),
            ("--monitor", self.monitor.is_some()),
            ("--save-best", self.save_best),
            ("--patience", self.patience.is_some()),
            ("--history", self.history.is_some()),
            ("--resume", self.keep.resume),
        ];
        options.into_iter().find_map(|(option, given)| given.then_some(option))
    }
}

/// Runs `stage` as [`run_stage`] does. The boolean beside `output` is whether a table of the machine's times is kept.
pub fn run_timed_stage(
    name: &str,
    model: Option<&Path>,
    stage: Stage,
    (output, keeps): (&Output, bool),
    train: Option<&TrainArgs>,
    common: &Common,
) -> Result<()> {
    Run { name, model, output, train, keeps_times: keeps }.stage(stage, common)
}

/// Runs `stage`, which starts from `model` unless it builds an architecture, and prints its row below that of the
/// original model. `train` controls the checkpoints, resumption and history of its training, if any.
pub fn run_stage(
    name: &str,
    model: Option<&Path>,
    stage: Stage,
    output: &Output,
    train: Option<&TrainArgs>,
    common: &Common,
) -> Result<()> {
    Run { name, model, output, train, keeps_times: true }.stage(stage, common)
}

/// A command that runs one stage.
struct Run<'a> {
    name: &'a str,
    model: Option<&'a Path>,
    output: &'a Output,
    train: Option<&'a TrainArgs>,
    /// Whether a table of the machine's times is kept.
    keeps_times: bool,
}

impl Run<'_> {
    fn stage(self, stage: Stage, common: &Common) -> Result<()> {
        let Self { name, model, output, train, keeps_times } = self;
        stage.check_training()?;
        let train = train.filter(|_| stage.train.is_some());
        let keep = train.map(|train| &train.keep);
        let resume = keep.is_some_and(|keep| keep.resume);
        let file = OutputFile::claim(&output.out, output.force, resume)?;
        refuse_existing_outputs(std::slice::from_ref(&stage), output.force || resume)?;
        let history = train.and_then(|train| train.history.as_deref());
        history.map_or(Ok(()), |path| check_history(path, output.force || resume))?;
        let device = common.device()?;
        let seed = common.seed.unwrap_or(0);
        let before = model.map(file::load).transpose()?;
        let config = match (&before, stage.new_head) {
            (Some(graph), true) => output.data.config(Some(&without_classes(graph)))?,
            _ => output.data.config(before.as_ref())?,
        };
        let data = match (&config, &before) {
            (None, _) if stage.train.is_some() => {
                return Err(Error::invalid("--data is missing: training needs images"));
            }
            (None, _) => None,
            (Some(config), Some(graph)) if !stage.new_head => Some(super::open_data(config, graph, common)?),
            (Some(config), _) => Some(open_images(config, None, seed)?),
        };
        let stage = Stage { name: name.to_string(), from: model.map(|m| m.display().to_string()), ..stage };
        let stages = std::slice::from_ref(&stage);
        let mut pipeline = Pipeline::new(&device, data, seed);
        if !keeps_times {
            pipeline.clock = Arc::new(MachineClock::new(&device, None, |text| note(text)));
        }
        if let (Some(graph), Some(from)) = (&before, &stage.from) {
            pipeline.files.insert(from.clone(), graph.clone());
        }
        pipeline.preflight(stages, &[&output.out], file.checkpoint())?;
        if let Some(keep) = keep {
            let data = config.as_ref().zip(pipeline.data.as_ref());
            let binding = Binding::new(stages, data, seed, &device)?;
            pipeline.keeping = Some(Keeping::new(file.checkpoint().to_path_buf(), keep, binding)?);
            pipeline.history = history.map(History::in_file);
            signals::listen()?;
        }
        file.forget(resume)?;
        let mut rows = Vec::new();
        // A network for other classes has no accuracy on these images.
        if let (Some(graph), Some(path), false) = (&before, model, stage.new_head) {
            rows.push(pipeline.measure("before", graph, path)?);
        }
        let mut outcome = pipeline.stage(&stage, &output.out)?;
        outcome.row.set_against(&rows, ["before"].into_iter());
        rows.push(outcome.row);
        let networks: Vec<&Graph> = before.iter().chain([&outcome.graph]).collect();
        pipeline.compare(&mut rows, &networks, ROUNDS);
        pipeline.report_skipped();
        common.print(&Report::brief(&rows), || format!("{}wrote {}", short(&rows), output.out.display()))?;
        pipeline.keeping.as_ref().map_or(Ok(()), Keeping::remove)
    }
}

/// Returns an error if the history `path`, or the file for its layers, cannot be written, or exists unless `allowed`.
fn check_history(path: &Path, allowed: bool) -> Result<()> {
    for path in [path, &History::beside(path)] {
        refuse_existing(path, allowed)?;
        atomic::check(path)?;
    }
    Ok(())
}

/// Parses a schedule: its name, and behind a comma the keys of its table in a recipe.
pub(super) fn schedule(text: &str) -> std::result::Result<Schedule, String> {
    #[derive(serde::Deserialize)]
    struct Named {
        schedule: Schedule,
    }
    let (name, keys) = text.split_once(',').unwrap_or((text, ""));
    let name = name.trim().replace('-', "_");
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let comma = if keys.trim().is_empty() { "" } else { "," };
    let table = format!("schedule = {{ name = \"{name}\"{comma} {keys} }}");
    match toml::from_str::<Named>(&table) {
        Ok(Named { schedule }) if plain => Ok(schedule),
        Ok(_) => Err(format!("expected the name of a schedule, found {name}")),
        Err(error) => Err(error.message().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_named_with_their_keys() {
        assert_eq!(schedule("one-cycle"), Ok(Schedule::one_cycle()));
        assert_eq!(schedule("cosine"), Ok(Schedule::Cosine { warmup: 0.0 }));
        let step = Schedule::Step { factor: 0.2, at: vec![0.25] };
        assert_eq!(schedule("step, factor = 0.2, at = [0.25]"), Ok(step));
        for (text, words) in [
            ("triangle", "unknown variant `triangle`"),
            ("step, facter = 1", "unknown field `facter`"),
            ("step, factor", ""),
            ("constant\" }\nx = { y = \"", ""),
            ("piecewise", "missing field `points`"),
        ] {
            let message = schedule(text).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
