//! Three 5×5 convolutions and two linear layers, small enough to follow by hand what pruning removes.

use super::architecture::Architecture;
use super::options::Options;
use crate::builder::{Builder, Conv};
use lopper_engine::About;

/// ```text
/// conv5 ─ relu ─ bn ─ max pool 2 ─ conv5 ─ relu ─ bn ─ conv5 ─ relu ─ bn
/// ```
/// The ReLU comes before the batch norm, so a dead filter is the constant β − γμ/√(σ² + ε), not zero.
pub(super) struct SmallNet;

impl Architecture for SmallNet {
    fn about(&self) -> About {
        About::common("three 5×5 convolutions and two linear layers, small enough to follow by hand")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.conv("conv1", Conv::new(options.scaled(20), 5).bias()).relu("relu1").batch_norm("bn1");
        net.max_pool("pool", 2, 2, 0);
        net.conv("conv2", Conv::new(options.scaled(50), 5).bias()).relu("relu2").batch_norm("bn2");
        net.conv("conv3", Conv::new(options.scaled(100), 5).bias()).relu("relu3").batch_norm("bn3");
    }

    /// Adds pooling and two linear layers. The width multiplier applies to filters; the hidden layer keeps its width.
    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten").linear("fc1", 50);
        net.linear("fc2", options.classes.len());
    }
}
