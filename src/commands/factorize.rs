//! `lopper factorize MODEL`.

use super::Common;
use super::step::{Layers, Output, TrainArgs, run_timed_stage};
use crate::recipe::Stage;
use clap::Args;
use lopper_compress::factorize::Metric;
use lopper_compress::prune::Amount;
use lopper_compress::{ConvSplit, FactorizeConfig};
use lopper_engine::Result;
use std::path::PathBuf;

/// Split layers into factors.
#[derive(Args)]
#[command(override_usage = "lopper factorize [OPTIONS] --out <OUT> <MODEL>\n       \
    with one of --fraction, --energy, --error, --vbmf, --target-macs and --target-latency")]
#[command(group = clap::ArgGroup::new("rank").required(true).args(["fraction", "energy", "error", "vbmf", "target_macs", "target_latency"]))]
pub struct Factorize {
    /// A model file
    model: PathBuf,
    /// Fraction of the full rank to remove, in [0, 1)
    #[arg(long)]
    fraction: Option<f64>,
    /// Share of the squared singular values to keep, in [0, 1]
    #[arg(long)]
    energy: Option<f64>,
    /// Largest relative error of a layer's weights, in [0, 1]
    #[arg(long)]
    error: Option<f64>,
    /// Let variational Bayes tell the rank from noise
    #[arg(long)]
    vbmf: bool,
    /// Share of the network's multiply-accumulates that stays, such as 0.5 or 0.5x: ranks follow from what each layer loses
    #[arg(long, value_parser = share, value_name = "SHARE")]
    target_macs: Option<f64>,
    /// Latency of the factorized network, as a share of the network's (0.7x) or in milliseconds (3.2ms)
    #[arg(long, value_name = "LATENCY")]
    target_latency: Option<Amount>,
    /// With --target-latency: images in a batch [default: 1]
    #[arg(long, value_name = "IMAGES", requires = "target_latency")]
    target_batch: Option<usize>,
    /// With --target-latency: measure this machine's kernels anew, and keep no table of their times
    #[arg(long, requires = "target_latency")]
    no_cache: bool,
    /// Convolutions: spatial (K×1, 1×K), channel (K×K, 1×1), tucker (1×1, K×K, 1×1), cp (1×1, K×1, 1×K, 1×1), auto
    /// (spatial or channel, by error and cost) or none
    #[arg(long, default_value = "auto")]
    conv: ConvSplit,
    /// Norm of the errors: plain, or on images activations (of inputs), whitened (of products of inputs) or fisher (of
    /// outputs)
    #[arg(long, default_value = "plain")]
    metric: Metric,
    /// Also factorize layers that do not become smaller or faster
    #[arg(long)]
    even_if_larger: bool,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    train: TrainArgs,
    #[command(flatten)]
    output: Output,
}

impl Factorize {
    pub fn run(&self, common: &Common) -> Result<()> {
        let config = FactorizeConfig {
            fraction: self.fraction,
            energy: self.energy,
            error: self.error,
            vbmf: self.vbmf,
            target_macs: self.target_macs,
            target_latency: self.target_latency,
            target_batch: self.target_batch,
            conv: (self.conv != ConvSplit::None).then_some(self.conv),
            metric: self.metric,
            force: self.even_if_larger,
            include: self.layers.include.clone(),
            exclude: self.layers.exclude.clone(),
            ..FactorizeConfig::default()
        };
        let stage = Stage::of(config, self.train.config(0)?)?;
        let output = (&self.output, !self.no_cache);
        run_timed_stage("factorized", Some(&self.model), stage, output, Some(&self.train), common)
    }
}

/// Parses a share of the whole: `0.5` or `0.5x`.
fn share(text: &str) -> std::result::Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text);
    number.parse().map_err(|_| format!("expected a share such as 0.5x, found {text}"))
}
