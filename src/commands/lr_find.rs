//! `lopper lr-find`.

use super::Common;
use super::DataArgs;
use super::file_names::{is_picture, table_or_picture};
use super::step::OptimizerName;
use crate::findings::Found;
use crate::images::{open_images, without_classes};
use crate::output_file::refuse_existing;
use crate::pipeline::Pipeline;
use crate::range::{self, RangeRun};
use crate::recipe::Stage;
use crate::tables::{put, put_csv};
use clap::Args;
use lopper_engine::number::{self, Range};
use lopper_engine::train::{CrossEntropy, Freezing, Layers, Optimizer, RangeTest};
use lopper_engine::{Device, Error, Graph, Result, atomic, file};
use lopper_models::Head;
use lopper_models::data::Splits;
use std::path::{Path, PathBuf};

/// Find a learning rate by the range test: train a copy of the network with a growing rate, and watch the loss.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("start").required(true).args(["arch", "model"]))]
#[command(group = clap::ArgGroup::new("head_to_draw").multiple(true).args(["arch", "new_head"]))]
pub struct LrFind {
    /// Architecture to build (`lopper summary help` lists them)
    #[arg(long)]
    arch: Option<String>,
    /// Width multiplier of the architecture [default: 1]
    #[arg(long, conflicts_with = "model")]
    width: Option<f64>,
    /// Classifier of the architecture, or kind of the new head: own or fastai [default: own]
    #[arg(long, value_parser = super::train::parse_head, requires = "head_to_draw")]
    head: Option<Head>,
    /// Model file to start from; it is not changed
    #[arg(long)]
    model: Option<PathBuf>,
    /// Keep the model's body and draw a new head for the classes of the images, as train does
    #[arg(long, conflicts_with = "arch")]
    new_head: bool,
    /// Layers that stay as they are: body, head or patterns of layer names, separated by commas. Batch norms are trained
    /// nevertheless
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    freeze: Vec<Layers>,
    /// Learning rate of the first step
    #[arg(long, value_name = "RATE", default_value_t = 1e-7)]
    first: f64,
    /// Learning rate behind the last step
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    last: f64,
    /// Number of steps, a batch each; fewer if the loss diverges
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    steps: u32,
    /// Optimizer
    #[arg(long, value_enum, default_value = "adamw")]
    optimizer: OptimizerName,
    /// Weight decay; biases and batch norms do not decay
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f64,
    /// Share of each target that is spread over all classes
    #[arg(long, default_value_t = 0.0)]
    label_smoothing: f64,
    /// Write the losses by rate, as .csv or .svg
    #[arg(long, value_name = "FILE", value_parser = table_or_picture)]
    curve: Option<PathBuf>,
    /// Overwrite the curve if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    data: DataArgs,
}

impl LrFind {
    pub fn run(&self, common: &Common) -> Result<()> {
        number::single("--label-smoothing", self.label_smoothing, Range::BelowOne)?;
        let test = RangeTest::new(self.first, self.last, self.steps as usize)?;
        if let Some(path) = &self.curve {
            refuse_existing(path, self.force)?;
            atomic::check(path)?;
        }
        let device = common.device()?;
        let (graph, mut splits) = self.start(common, &device)?;
        let optimizer = Optimizer::new(self.optimizer.config(self.weight_decay))
            .without_vector_decay()
            .with_freezing(Freezing::new(self.freeze.clone(), Vec::new()));
        let mut objective = CrossEntropy { smoothing: self.label_smoothing as f32 };
        let run = RangeRun {
            optimizer,
            objective: &mut objective,
            seed: common.seed.unwrap_or(0),
            device: &device,
        };
        let test = run.test(test, graph, &mut splits.train)?;
        let found = Found::of(&test).ok_or_else(|| ended_early(&test))?;
        if let Some(path) = &self.curve {
            write(&found, path)?;
        }
        common.print(&found, || found.text())
    }

    /// The network and the images.
    fn start(&self, common: &Common, device: &Device) -> Result<(Graph, Splits)> {
        let graph = self.model.as_ref().map(file::load).transpose()?;
        let missing = || Error::invalid("--data is missing: the range test needs images");
        let fitted = match (&graph, self.new_head) {
            (Some(graph), true) => Some(&without_classes(graph)),
            _ => graph.as_ref(),
        };
        let config = self.data.config(fitted)?.ok_or_else(missing)?;
        let seed = common.seed.unwrap_or(0);
        let graph = match graph {
            Some(graph) if !self.new_head => {
                let splits = super::open_data(&config, &graph, common)?;
                return Ok((graph, splits));
            }
            other => other,
        };
        let splits = open_images(&config, None, seed)?;
        let mut pipeline = Pipeline::new(device, Some(splits), seed);
        let head = self.head.unwrap_or_default();
        let stage = Stage { width: self.width, head, new_head: self.new_head, ..Stage::default() };
        let graph = match graph {
            Some(graph) => pipeline.with_new_head(&stage, &graph, Some(seed))?,
            None => pipeline.build(&stage, self.arch.as_deref().unwrap_or_default(), Some(seed))?,
        };
        Ok((graph, pipeline.data.take().expect("given above")))
    }
}

/// The error of a test that ended before there were steps enough for a suggestion.
fn ended_early(test: &RangeTest) -> Error {
    let smoothed = test.tested().iter().map(|step| step.smoothed);
    let (last, lowest) =
        (smoothed.clone().next_back().unwrap_or(f64::NAN), smoothed.fold(f64::NAN, f64::min));
    Error::invalid(format!(
        "the loss diverged after {} of {} steps: smoothed, it was {last:.1e}, and {lowest:.1e} at the lowest; start at \
         a lower --first, or from a network that has not learned these images yet, as near 0 the noise of the loss \
         ends the test",
        test.tested().len(),
        test.steps()
    ))
}

/// Writes the losses by rate to the file `path`, as a table or a picture.
fn write(found: &Found, path: &Path) -> Result<()> {
    match is_picture(path) {
        true => put(path, range::svg(found)?.as_bytes()),
        false => put_csv(path, |w| found.steps.iter().try_for_each(|step| w.serialize(step))),
    }
}
