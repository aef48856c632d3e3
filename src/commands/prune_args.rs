//! Options of `lopper prune` that say how much goes, and what limits it.

use clap::Args;
use lopper_compress::criteria::Normalization;
use lopper_compress::prune::{Amount, ByLayer, PruneConfig, RoundTo, Target};

/// What the network may cost.
#[derive(Args)]
#[command(next_help_heading = "Target")]
pub struct Targets {
    /// Latency of the pruned network, as a share of the network's (0.5x) or in milliseconds (3.2ms)
    #[arg(long, group = "amount", value_name = "LATENCY")]
    target_latency: Option<Amount>,
    /// Multiply-accumulates for one image, as a share (0.5x) or a number (40M)
    #[arg(long, group = "amount", value_name = "MACS")]
    target_macs: Option<Amount>,
    /// Parameters, as a share (0.5x) or a number (1e6)
    #[arg(long, group = "amount", value_name = "PARAMETERS")]
    target_params: Option<Amount>,
    /// Bytes of the weights, as a share (0.5x) or a number (4MB)
    #[arg(long, group = "amount", value_name = "BYTES")]
    target_bytes: Option<Amount>,
    /// With --target-latency: images in a batch [default: 1]
    #[arg(long, value_name = "IMAGES", requires = "target_latency")]
    target_batch: Option<usize>,
    /// With --target-latency: measure this machine's kernels anew, and keep no table of their times
    #[arg(long, requires = "target_latency")]
    pub no_cache: bool,
}

/// What limits the choice.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    #[arg(long, requires = "amount", help = normalization_help("where layers compete"))]
    normalization: Option<Normalization>,
    /// Only groups of channels of the same structure compete, and each structure loses the same fraction
    #[arg(long, requires = "fraction")]
    isomorphic: bool,
    /// Largest fraction of the channels of a layer that goes, for all or as LAYER=FRACTION, separated by commas
    /// [default: 1; of targets 0.95]
    #[arg(long, requires = "amount", value_name = "FRACTION")]
    max_fraction: Option<ByLayer<f64>>,
    /// Least number of channels that a layer keeps, for all or as LAYER=N, separated by commas [default: 1]
    #[arg(long, requires = "amount", value_name = "N")]
    min_channels: Option<ByLayer<usize>>,
    /// Widths that stay: multiples of a number such as 16, or "plan" for widths that the plan computes at a good price
    /// [default: any; of --target-latency plan]
    #[arg(long, requires = "amount", value_name = "N")]
    round_to: Option<RoundTo>,
}

impl Targets {
    /// The target, if one is given.
    pub fn target(&self) -> Option<Target> {
        let target = Target {
            latency: self.target_latency,
            macs: self.target_macs,
            params: self.target_params,
            bytes: self.target_bytes,
            batch: self.target_batch,
        };
        (target != Target::default()).then_some(target)
    }
}

impl Limits {
    /// The options of pruning with these limits and no others.
    pub fn config(&self) -> PruneConfig {
        PruneConfig {
            normalization: self.normalization,
            isomorphic: self.isomorphic,
            max_fraction: self.max_fraction.clone(),
            min_channels: self.min_channels.clone(),
            round_to: self.round_to,
            ..PruneConfig::default()
        }
    }
}

/// The help of `--normalization`, which by default applies `where_by_default`.
pub fn normalization_help(where_by_default: &str) -> String {
    let names = Normalization::names();
    format!(
        "Scale of a layer's scores, which makes layers comparable: {names} [default: lamp {where_by_default}, but none for \
         batch_norm_gamma]"
    )
}
