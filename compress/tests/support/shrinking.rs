//! A network that shrinks, for the tests of pruning while training.

use super::small_net;
use lopper_compress::Context;
use lopper_compress::criteria::Criterion;
use lopper_compress::prune::{Constants, PruneConfig};
use lopper_compress::sparsify::SparsitySchedule;
use lopper_engine::Graph;
use lopper_engine::train::OptimizerConfig;

pub const SGD: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-3 };
pub const ADAMW: OptimizerConfig =
    OptimizerConfig::AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 };

/// [`small_net`] with its image size: 6 channels that `conv1` and `depthwise` share, and 8 of `conv2`.
pub fn net() -> Graph {
    let mut graph = small_net(3);
    graph.info.input = [4, 4, 2];
    graph
}

pub fn half(criterion: impl Into<Criterion>, context: Context) -> PruneConfig {
    PruneConfig {
        criterion: Some(criterion.into()),
        fraction: Some(0.5),
        context,
        constants: Constants::Drop,
        schedule: Some(SparsitySchedule::Cosine),
        ..PruneConfig::default()
    }
}

/// The channels of the two groups of [`net`].
pub fn channels(graph: &Graph) -> [usize; 2] {
    ["body.conv1.weight", "body.conv2.weight"].map(|path| graph.param(path).unwrap().value().dim(0))
}
