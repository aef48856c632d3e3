//! `lopper eval MODEL --data DIR`.

mod files;

use super::{Common, DataArgs, LinearWeights};
use crate::details::Metrics;
use crate::evaluation::{Scored, score_views};
use crate::findings::View;
use crate::images::report_skipped;
use clap::Args;
use files::Files;
use lopper_engine::data::Batches;
use lopper_engine::number::{self, Range};
use lopper_engine::plan::{Plan, PlanOptions};
use lopper_engine::train::Logits;
use lopper_engine::train::metrics::Scores;
use lopper_engine::{Device, Error, Graph, Result, file};
use lopper_kernels::params::Dtype;
use lopper_models::data::Splits;
use serde::Serialize;
use std::path::PathBuf;

/// Measure the accuracy on validation images, and with --metrics much more.
#[derive(Args)]
pub struct Eval {
    /// A model file
    model: PathBuf,
    #[command(flatten)]
    weights: LinearWeights,
    /// Also report top-5, macro and weighted F1, calibration error, precision, recall and F1 of each class, and the
    /// images with the largest losses, with 95 % intervals
    #[arg(long)]
    metrics: bool,
    /// With --metrics: number of images with the largest losses
    #[arg(long, value_name = "N", requires = "metrics", default_value_t = 10)]
    top_losses: usize,
    /// Average the predictions of N augmented views of each image with that of the plain one, and report the scores for
    /// every number of views up to N; the score is that of all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tta: Option<u32>,
    /// With --tta: weight of the plain view, 0 to 1; the augmented views share the rest
    #[arg(long, value_name = "BETA", requires = "tta", default_value_t = 0.25)]
    tta_beta: f64,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Serialize)]
struct Report {
    top1: f64,
    interval: (f64, f64),
    loss: f64,
    images: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<Metrics>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tta: Vec<View>,
}

impl Eval {
    pub fn run(&self, common: &Common) -> Result<()> {
        number::single("--tta-beta", self.tta_beta, Range::UpToOne)?;
        self.files.check()?;
        let graph = file::load(&self.model)?;
        let config = self
            .data
            .config(Some(&graph))?
            .ok_or_else(|| Error::invalid("--data is missing: evaluation needs images"))?;
        let device = common.device()?;
        let mut splits = super::open_data(&config, &graph, common)?;
        let (scores, tta) = self.scores(&graph, &mut splits, config.batch, &device)?;
        report_skipped(&[&splits.val]);
        let (classes, names, confusion) = (&splits.classes, splits.val.names(), scores.confusion());
        self.files.write(&scores, &confusion, classes, &names)?;
        self.files.write_curve(&tta)?;
        let accuracy = scores.top(1);
        let metrics = || Metrics::new(&scores, &confusion, classes, &names, self.top_losses);
        let report = Report {
            top1: accuracy.top1(),
            interval: accuracy.wilson95(),
            loss: scores.loss(),
            images: accuracy.total,
            metrics: self.metrics.then(metrics),
            tta,
        };
        common.print(&report, || report.text())
    }

    /// Scores the graph, or, if its weights are to be rounded, a plan that stores them so, on the images to score.
    fn scores(
        &self,
        graph: &Graph,
        splits: &mut Splits,
        batch: usize,
        device: &Device,
    ) -> Result<(Scores, Vec<View>)> {
        let linear = self.weights.linear_weights;
        if linear == Dtype::F32 {
            return self.scores_of(&mut { graph }, splits, device);
        }
        let [h, w, c] = splits.val.image_shape();
        let batch = splits.val.samples().clamp(1, batch);
        let options = PlanOptions { linear, strict: device.is_strict(), ..PlanOptions::default() };
        let mut plan = Plan::with(graph, [batch, h, w, c], device, options)?;
        self.scores_of(&mut { &mut plan }, splits, device)
    }

    /// The scores of `network`, averaged over views with `--tta`, and the scores for each number of views.
    fn scores_of(
        &self,
        network: &mut dyn Logits,
        splits: &mut Splits,
        device: &Device,
    ) -> Result<(Scores, Vec<View>)> {
        let counts: Vec<usize> = (1..=self.tta.unwrap_or(0) as usize).collect();
        let (views, Splits { train, val, .. }) = ((&counts[..], self.tta_beta), splits);
        let Scored { plain, averaged, curve } = score_views(network, val, train, views, device)?;
        Ok((averaged.unwrap_or(plain), curve))
    }
}

impl Report {
    fn text(&self) -> String {
        let (low, high) = self.interval;
        let views = match self.tta.last() {
            Some(View { views, .. }) => format!(", {views} augmented views of each"),
            None => String::new(),
        };
        let mut text = format!(
            "top-1 {:.2} % (95 % interval {:.2}–{:.2}), loss {:.4}, {} images{views}\n",
            100.0 * self.top1,
            100.0 * low,
            100.0 * high,
            self.loss,
            self.images
        );
        if let Some(metrics) = &self.metrics {
            text += &metrics.text();
        }
        if !self.tta.is_empty() {
            let lines: Vec<String> = self.tta.iter().map(View::text).collect();
            text += &format!("\n{}\n", lines.join("\n"));
        }
        text
    }
}
