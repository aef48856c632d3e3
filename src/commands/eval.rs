//! `lopper eval MODEL --data DIR`.

use super::{Common, DataArgs, LinearWeights};
use crate::images::report_skipped;
use clap::Args;
use lopper_engine::data::Batches;
use lopper_engine::plan::{Plan, PlanOptions};
use lopper_engine::train::{Evaluation, evaluate};
use lopper_engine::{Device, Error, Graph, Result, file};
use lopper_kernels::params::Dtype;
use lopper_models::data::Loader;
use serde::Serialize;
use std::path::PathBuf;

/// Measure the accuracy on validation images.
#[derive(Args)]
pub struct Eval {
    /// A model file
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    weights: LinearWeights,
}

#[derive(Serialize)]
struct Scores {
    top1: f64,
    interval: (f64, f64),
    loss: f64,
    images: usize,
}

impl Eval {
    pub fn run(&self, common: &Common) -> Result<()> {
        let graph = file::load(&self.model)?;
        let config = self
            .data
            .config(Some(&graph))?
            .ok_or_else(|| Error::invalid("--data is missing: evaluation needs images"))?;
        let device = common.device()?;
        let mut splits = super::open_data(&config, &graph, common)?;
        let evaluation = self.evaluate(&graph, &mut splits.val, config.batch, &device)?;
        report_skipped(&[&splits.val]);
        let accuracy = &evaluation.accuracy;
        let result = Scores {
            top1: accuracy.top1(),
            interval: accuracy.wilson95(),
            loss: evaluation.loss,
            images: accuracy.total,
        };
        common.print(&result, || {
            let (low, high) = result.interval;
            format!(
                "top-1 {:.2} % (95 % interval {:.2}–{:.2}), loss {:.4}, {} images",
                100.0 * result.top1,
                100.0 * low,
                100.0 * high,
                result.loss,
                result.images
            )
        })
    }

    /// Evaluates the graph, or, if its weights are to be rounded, a plan that stores them so.
    fn evaluate(
        &self,
        graph: &Graph,
        images: &mut Loader,
        batch: usize,
        device: &Device,
    ) -> Result<Evaluation> {
        let linear = self.weights.linear_weights;
        if linear == Dtype::F32 {
            return evaluate(graph, images, device);
        }
        let [h, w, c] = images.image_shape();
        let batch = images.samples().clamp(1, batch);
        let options = PlanOptions { linear, strict: device.is_strict(), ..PlanOptions::default() };
        evaluate(&mut Plan::with(graph, [batch, h, w, c], device, options)?, images, device)
    }
}
