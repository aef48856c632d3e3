//! `lopper regularize MODEL`.

use super::Common;
use super::step::{Layers, Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::Granularity;
use lopper_compress::regularize::{Penalty, RegularizeConfig};
use lopper_compress::sparsify::SparsitySchedule;
use lopper_engine::{Error, Result};
use std::path::PathBuf;

/// Train with a penalty that makes groups of weights small.
#[derive(Args)]
pub struct Regularize {
    /// A model file
    model: PathBuf,
    #[arg(long, help = format!("What is added to the loss: {}", super::one_of(Penalty::ALL)))]
    penalty: Penalty,
    /// Weight of the penalty; of growing, the one at the beginning [default: 0 of growing]
    #[arg(long)]
    weight: Option<f64>,
    #[arg(long, default_value_t, help = format!("Weights that form a group, of group_lasso and growing: {}", Granularity::names()))]
    granularity: Granularity,
    #[arg(long, value_name = "SCHEDULE", help = format!("How the weight grows during training: {} [default: it is constant]", SparsitySchedule::names()))]
    growth: Option<SparsitySchedule>,
    /// With --penalty group_norm: the smallest unit is pulled 2^ALPHA times as strongly as the largest
    #[arg(long, default_value_t = 4.0)]
    alpha: f64,
    /// With --penalty growing: fraction of the groups of each layer that is pulled
    #[arg(long, default_value_t = 0.5)]
    sparsity: f64,
    /// With --penalty growing: increment of the weight
    #[arg(long, default_value_t = 1e-4)]
    delta: f64,
    /// With --penalty growing: training steps between two increments
    #[arg(long, default_value_t = 5)]
    every: usize,
    /// With --penalty growing: largest weight
    #[arg(long, default_value_t = 1.0)]
    ceiling: f64,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Regularize {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = RegularizeConfig {
            weight: self.weight,
            granularity: self.granularity,
            schedule: self.growth.clone(),
            alpha: self.alpha,
            sparsity: self.sparsity,
            delta: self.delta,
            every: self.every,
            ceiling: self.ceiling,
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
            ..RegularizeConfig::new(self.penalty, 0.0)
        };
        let train = self.train.config(5)?;
        if train.is_none() {
            return Err(Error::invalid(
                "--epochs: a penalty acts during training: expected at least 1, found 0",
            ));
        }
        let stage = Stage::of(config, train)?;
        run_stage("regularized", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}
