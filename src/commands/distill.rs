//! `lopper distill MODEL --teacher MODEL`.

use super::Common;
use super::step::{Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::distill::{DistillConfig, DistillLoss, DistillStage, FeatureLoss, Features, Teachers};
use lopper_compress::sparsify::SparsitySchedule;
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
    #[arg(long, default_value_t, help = format!("How to compare logits: {}", super::one_of(DistillLoss::ALL)))]
    loss: DistillLoss,
    /// α of dkd and dist [default: those of their papers]
    #[arg(long)]
    alpha: Option<f64>,
    /// β of dkd, nkd and dist [default: those of their papers]
    #[arg(long)]
    beta: Option<f64>,
    #[arg(long, value_name = "LOSS[=WEIGHT]", value_delimiter = ',', value_parser = features, help = format!("Compare the last layers at each resolution that both networks have, too, or by crd the features that both classify: {} [default: none]", super::one_of(FeatureLoss::ALL)))]
    features: Vec<Features>,
    #[arg(long, value_name = "SCHEDULE", help = format!("How the weight grows from 0 while training: {} [default: it is constant]", SparsitySchedule::names()))]
    growth: Option<SparsitySchedule>,
    /// Train the teacher, too, to imitate the student; it is not written
    #[arg(long)]
    mutual: bool,
    /// Megabytes for the teacher's logits, which are then computed once for each batch that recurs: see --draws
    #[arg(long, value_name = "MEGABYTES", default_value_t = 0)]
    logit_cache: usize,
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
            alpha: self.alpha,
            beta: self.beta,
            features: self.features.clone(),
            schedule: self.growth.clone(),
            mutual: self.mutual,
            cache: self.logit_cache,
            ..DistillConfig::default()
        };
        config.check()?;
        let train = self.train.config(5)?;
        if train.is_none() {
            return Err(Error::invalid(
                "--epochs: distillation acts during training: expected at least 1, found 0",
            ));
        }
        let teacher = Some(Teachers::One(self.teacher.display().to_string()));
        let stage = Stage::of(DistillStage { distill: Some(config), teacher }, train)?;
        run_stage("distilled", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}

/// Reads a loss of features and its weight.
fn features(text: &str) -> std::result::Result<Features, String> {
    let (loss, weight) = text.split_once('=').unwrap_or((text, "1"));
    let loss = loss.parse().map_err(|e: Error| e.to_string())?;
    Ok(Features { loss, weight: super::single(weight)? })
}
