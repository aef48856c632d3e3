//! `lopper lr-find`.

use super::Common;
use super::DataArgs;
use super::file_names::{is_picture, table_or_picture};
use super::step::OptimizerName;
use crate::images::open_images;
use crate::output_file::refuse_existing;
use crate::pipeline::Pipeline;
use crate::plots::{Curve, Curves};
use crate::recipe::Stage;
use crate::tables::{put, put_csv};
use crate::training::Stoppable;
use clap::Args;
use lopper_engine::data::Batches;
use lopper_engine::number::{self, Range};
use lopper_engine::train::{CrossEntropy, Optimizer, RangeTest, Schedule, Tested, Trainer};
use lopper_engine::{Device, Error, Graph, Result, atomic, file};
use lopper_models::Head;
use lopper_models::data::Splits;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Find a learning rate by the range test: train a copy of the network with a growing rate, and watch the loss.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("start").required(true).args(["arch", "model"]))]
pub struct LrFind {
    /// Architecture to build (`lopper summary help` lists them)
    #[arg(long)]
    arch: Option<String>,
    /// Width multiplier of the architecture [default: 1]
    #[arg(long, conflicts_with = "model")]
    width: Option<f64>,
    /// Classifier of the architecture: own or fastai
    #[arg(long, value_parser = super::train::parse_head, default_value = "own", conflicts_with = "model")]
    head: Head,
    /// Model file to start from; it is not changed
    #[arg(long)]
    model: Option<PathBuf>,
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

/// Steps at the end that suggestions leave out, and that do not decide the range of the picture.
const LAST_STEPS: usize = 5;

#[derive(Serialize)]
struct Found {
    valley: f64,
    steepest: f64,
    minimum_tenth: f64,
    steps: Vec<Line>,
}

/// A step, also as a line of a CSV file.
#[derive(Clone, Copy, Serialize)]
struct Line {
    rate: f64,
    loss: f64,
    smoothed: f64,
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
        let test = self.test(test, graph, &mut splits, common.seed.unwrap_or(0), &device)?;
        let Some(suggestions) = test.suggestions() else {
            return Err(ended_early(&test));
        };
        let line = |&Tested { rate, loss, smoothed }: &Tested| Line { rate, loss, smoothed };
        let found = Found {
            valley: suggestions.valley,
            steepest: suggestions.steepest,
            minimum_tenth: suggestions.minimum_tenth,
            steps: test.tested().iter().map(line).collect(),
        };
        if let Some(path) = &self.curve {
            found.write(path)?;
        }
        common.print(&found, || found.text())
    }

    /// The network and the images.
    fn start(&self, common: &Common, device: &Device) -> Result<(Graph, Splits)> {
        let graph = self.model.as_ref().map(file::load).transpose()?;
        let missing = || Error::invalid("--data is missing: the range test needs images");
        let config = self.data.config(graph.as_ref())?.ok_or_else(missing)?;
        let seed = common.seed.unwrap_or(0);
        if let Some(graph) = graph {
            let splits = super::open_data(&config, &graph, common)?;
            return Ok((graph, splits));
        }
        let splits = open_images(&config, None, seed)?;
        let mut pipeline = Pipeline::new(device, Some(splits), seed);
        let stage = Stage { width: self.width, head: self.head, ..Stage::default() };
        let graph = pipeline.build(&stage, self.arch.as_deref().unwrap_or_default(), Some(seed))?;
        Ok((graph, pipeline.data.take().expect("given above")))
    }

    /// Runs `test` on `graph`.
    fn test(
        &self,
        mut test: RangeTest,
        mut graph: Graph,
        splits: &mut Splits,
        seed: u64,
        device: &Device,
    ) -> Result<RangeTest> {
        let config = self.optimizer.config(self.weight_decay);
        let trainer = Trainer {
            device,
            optimizer: &mut Optimizer::new(config).without_vector_decay(),
            // The test sets the rate of every step.
            schedule: Schedule::Constant,
            learning_rate: self.last,
            epochs: test.steps().div_ceil(splits.train.len().max(1)),
            seed,
            objective: &mut CrossEntropy { smoothing: self.label_smoothing as f32 },
            callbacks: vec![&mut test],
            reduce: None,
        };
        match trainer.fit(&mut graph, &mut Stoppable(&mut splits.train), None) {
            // Rates so large that a loss or a weight overflows end the test too.
            Ok(_) | Err(Error::Diverged { .. } | Error::NotFinite { .. }) => Ok(test),
            Err(error) => Err(error),
        }
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

impl Found {
    fn text(&self) -> String {
        let steps = self.steps.len();
        format!(
            "suggested learning rates after {steps} steps, with the names of fastai:\n\
             {:>10.1e}  valley: the middle of the longest valley of the smoothed loss\n\
             {:>10.1e}  steepest: where the smoothed loss falls fastest\n\
             {:>10.1e}  minimum / 10: a tenth of the rate with the lowest smoothed loss\n",
            self.valley, self.steepest, self.minimum_tenth
        )
    }

    /// The losses to show: around the smoothed ones up to the last steps, whose losses may be many times as large.
    fn range(&self) -> Option<(f64, f64)> {
        let shown = self.steps.len().checked_sub(LAST_STEPS).filter(|&shown| shown > 1)?;
        let smoothed = self.steps[..shown].iter().map(|step| step.smoothed);
        let (low, high) = (smoothed.clone().fold(f64::NAN, f64::min), smoothed.fold(f64::NAN, f64::max));
        let margin = 0.5 * (high - low);
        (margin > 0.0 && margin.is_finite()).then_some((low - 2.0 * margin, high + margin))
    }

    fn write(&self, path: &Path) -> Result<()> {
        if !is_picture(path) {
            return put_csv(path, |w| self.steps.iter().try_for_each(|step| w.serialize(step)));
        }
        let curve = |name: &str, loss: fn(&Line) -> f64| Curve {
            name: name.into(),
            points: self.steps.iter().map(|step| (step.rate, loss(step))).collect(),
            intervals: Vec::new(),
        };
        let marks =
            [("valley", self.valley), ("steepest", self.steepest), ("minimum / 10", self.minimum_tenth)];
        let svg = Curves {
            title: "Learning rate range test",
            x: "learning rate",
            y: "loss",
            logarithmic: true,
            range: self.range(),
            curves: vec![curve("loss", |step| step.loss), curve("smoothed loss", |step| step.smoothed)],
            marks: marks.map(|(name, rate)| (format!("{name}: {rate:.1e}"), rate)).to_vec(),
        }
        .svg()?;
        put(path, svg.as_bytes())
    }
}
