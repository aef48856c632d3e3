//! `lopper distill MODEL --teacher MODEL`.

use super::Common;
use super::step::{Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::distill::{DistillConfig, DistillLoss, DistillStage};
use lopper_engine::{Error, Result};
use std::path::PathBuf;

/// Train a network to imitate a teacher.
#[derive(Args)]
pub struct Distill {
    /// Model file of the student
    model: PathBuf,
    /// Model file of the teacher
    #[arg(long)]
    teacher: PathBuf,
    /// Weight of the distillation loss in the total loss
    #[arg(long, default_value_t = 0.5, value_parser = super::single)]
    weight: f32,
    /// Temperature that softens the teacher's predictions
    #[arg(long, default_value_t = 5.0, value_parser = super::single)]
    temperature: f32,
    /// What to compare: soft_targets or logits
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
        config.check()?;
        let train = self.train.config(5)?;
        if train.is_none() {
            return Err(Error::invalid(
                "--epochs: distillation acts during training: expected at least 1, found 0",
            ));
        }
        let teacher = Some(self.teacher.display().to_string());
        let stage = Stage::of(DistillStage { distill: Some(config), teacher }, train)?;
        run_stage("distilled", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}
