//! `lopper eval MODEL --data DIR`.

use super::{Common, DataArgs};
use clap::Args;
use engine::train::evaluate;
use engine::{Error, Result, file};
use serde::Serialize;
use std::path::PathBuf;

/// Accuracy on validation images.
#[derive(Args)]
pub struct Eval {
    /// A model file
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
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
            .config(Some(&graph))
            .ok_or_else(|| Error::invalid("--data is missing: which images?"))?;
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
