//! AlexNet, as a single stream of layers ("one weird trick", Krizhevsky 2014). Module names match torchvision's.

use super::architecture::Architecture;
use super::options::Options;
use crate::builder::{Builder, Conv};
use lopper_engine::About;

/// ```text
/// body    conv11×11 stride 4 ─ relu ─ pool ─ conv5×5 ─ relu ─ pool ─ (conv3×3 ─ relu) × 3 ─ pool
/// head    adaptive mean to 6 × 6 ─ (dropout ─ linear ─ relu) × 2 ─ linear
/// ```
/// Images have at least 63 × 63 pixels.
pub(super) struct AlexNet;

impl Architecture for AlexNet {
    fn about(&self) -> About {
        const WHAT: &str = "five convolutions of 11×11, 5×5 and 3×3 pixels, then three linear layers";
        About::new(WHAT, "Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        let wide = |filters: usize| options.scaled(filters);
        net.within("features", |net| {
            let first = Conv { padding: [2; 2], ..Conv::new(wide(64), 11) };
            net.conv(0, first.stride(4).bias()).relu(1).max_pool(2, 3, 2, 0);
            net.conv(3, Conv::same(wide(192), 5).bias()).relu(4).max_pool(5, 3, 2, 0);
            net.conv(6, Conv::same(wide(384), 3).bias()).relu(7);
            net.conv(8, Conv::same(wide(256), 3).bias()).relu(9);
            net.conv(10, Conv::same(wide(256), 3).bias()).relu(11).max_pool(12, 3, 2, 0);
        });
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        let hidden = options.scaled(4096);
        net.adaptive_avg_pool("avgpool", 6).flatten("flatten");
        net.within("classifier", |net| {
            net.dropout(0, 0.5).linear(1, hidden).relu(2);
            net.dropout(3, 0.5).linear(4, hidden).relu(5);
            net.linear(6, options.classes.len());
        });
    }
}
