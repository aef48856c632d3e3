//! `lopper sparse-train MODEL`.

use super::Common;
use super::step::{Layers, Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::sparse_training::{Densities, Method};
use lopper_compress::{Granularity, SparseTrainConfig};
use lopper_engine::{Error, Result};
use std::path::PathBuf;

/// Train with few weights from the first step on, and move them while training.
#[derive(Args)]
pub struct SparseTrain {
    /// A model file, usually untrained; masks that it has are where the training starts
    model: PathBuf,
    /// Fraction of weights without effect, below 1
    #[arg(long)]
    sparsity: f64,
    #[arg(long, default_value_t, help = format!("How masks move: {}", super::one_of(Method::ALL)))]
    method: Method,
    #[arg(long, default_value_t, help = format!("How many weights each layer keeps: {}", super::one_of(Densities::ALL)))]
    densities: Densities,
    /// Sparsity of the first step, with --method gradual [default: 0]
    #[arg(long)]
    initial_sparsity: Option<f64>,
    /// Sparsity of what learns, with --method top_kast, at most --sparsity [default: twice as many learn as run forward]
    #[arg(long, value_name = "SPARSITY")]
    backward_sparsity: Option<f64>,
    /// Weight of the penalty that holds back what does not run forward, with --method top_kast [default: 1e-4]
    #[arg(long, value_name = "WEIGHT")]
    exploration_penalty: Option<f64>,
    /// Share of the live weights that moves in the first update; top_kast moves what outgrows others
    #[arg(long, default_value_t = 0.3)]
    fraction: f64,
    /// Training steps between two updates
    #[arg(long, default_value_t = 100)]
    every: usize,
    /// Share of the training after which masks stay as they are
    #[arg(long, default_value_t = 0.75)]
    end: f64,
    #[arg(long, default_value_t = Granularity::WEIGHT, help = format!("Weights that live or do not together: {}", Granularity::names()))]
    granularity: Granularity,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl SparseTrain {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = SparseTrainConfig {
            sparsity: self.sparsity,
            method: self.method,
            densities: self.densities,
            initial_sparsity: self.initial_sparsity,
            backward_sparsity: self.backward_sparsity,
            exploration_penalty: self.exploration_penalty,
            fraction: self.fraction,
            every: self.every,
            end: self.end,
            granularity: self.granularity,
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
            seed: common.seed.unwrap_or(0),
        };
        let train = self.train.config(5)?;
        if train.is_none() {
            return Err(Error::invalid("--epochs: sparse training trains: expected at least 1, found 0"));
        }
        let stage = Stage::of(config, train)?;
        run_stage("sparse", Some(&self.model), stage, &self.output, Some(&self.train), common)
    }
}
