//! `lopper train`.

use super::Common;
use super::step::{Output, TrainArgs, run_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_engine::Result;
use lopper_models::Head;
use std::path::PathBuf;

/// Train a network from scratch, or train an existing one further.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("start").required(true).args(["arch", "model"]))]
#[command(group = clap::ArgGroup::new("head_to_draw").multiple(true).args(["arch", "new_head"]))]
pub struct Train {
    /// Architecture to build (`lopper summary help` lists them)
    #[arg(long)]
    arch: Option<String>,
    /// Width multiplier of the architecture [default: 1]
    #[arg(long, conflicts_with = "model")]
    width: Option<f64>,
    /// Classifier of the architecture, or kind of the new head: own or fastai [default: own]
    #[arg(long, value_parser = parse_head, requires = "head_to_draw")]
    head: Option<Head>,
    /// Model file to train further
    #[arg(long)]
    model: Option<PathBuf>,
    /// Keep the model's body and draw a new head for the classes of the images: its last layer, or with --head fastai
    /// everything behind the body's last image
    #[arg(long, conflicts_with = "arch")]
    new_head: bool,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Train {
    pub fn run(&self, common: &Common) -> Result<()> {
        let train = self.train.config(5)?;
        let stage = Stage {
            arch: self.arch.clone(),
            width: self.width,
            head: self.head.unwrap_or_default(),
            new_head: self.new_head,
            train,
            ..Stage::default()
        };
        run_stage("trained", self.model.as_deref(), stage, &self.output, Some(&self.train), common)
    }
}

pub(super) fn parse_head(name: &str) -> std::result::Result<Head, String> {
    match name {
        "own" => Ok(Head::Own),
        "fastai" => Ok(Head::Fastai),
        _ => Err(format!("expected own or fastai, found {name}")),
    }
}
