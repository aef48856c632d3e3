//! `lopper eval MODEL --data DIR`.

use super::{Common, DataArgs, LinearWeights};
use clap::Args;
use half::bf16;
use lopper_engine::train::evaluate;
use lopper_engine::{Error, Graph, Layer, Result, file};
use lopper_kernels::params::Dtype;
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
        let mut graph = file::load(&self.model)?;
        if self.weights.linear_weights == Dtype::Bf16 {
            round_linear_weights(&mut graph);
        }
        let config = self
            .data
            .config(Some(&graph))
            .ok_or_else(|| Error::invalid("--data is missing: evaluation needs images"))?;
        let device = common.device()?;
        let mut splits = super::open_data(&config, &graph, common)?;
        let evaluation = evaluate(&graph, &mut splits.val, &device)?;
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
}

/// Rounds the weights of linear layers as a plan with bf16 weights does.
fn round_linear_weights(graph: &mut Graph) {
    for id in 0..graph.nodes().len() {
        if let Layer::Linear(linear) = graph.layer_mut(id) {
            linear.weight.update(|weight| weight.iter_mut().for_each(|w| *w = bf16::from_f32(*w).to_f32()));
        }
    }
}
