//! StudentNet, the depthwise-separable network (Howard et al. 2017) of Hung-yi Lee's machine learning course, designed
//! for distillation and pruning.

use super::architecture::Architecture;
use super::options::Options;
use crate::builder::{Builder, Conv};
use lopper_engine::About;

/// Channels of the first layer and of the seven blocks.
const CHANNELS: [usize; 8] = [16, 32, 64, 128, 256, 256, 256, 256];

/// Last block that halves the image, as the first layer does.
const POOLED: usize = 3;

/// ```text
/// first   conv3×3 ─ bn ─ relu6 ─ max pool 2
/// block   depthwise 3×3 ─ bn ─ relu6 ─ conv1×1 (─ max pool 2, in the first three)
/// ```
/// No ReLU follows the 1×1 convolution. The width multiplier applies only to entries 3 to 6, as in the original.
pub(super) struct StudentNet;

impl Architecture for StudentNet {
    fn about(&self) -> About {
        const WHAT: &str = "depthwise 3×3 and 1×1 convolutions in turn, for distillation and pruning";
        About::new(
            WHAT,
            "Howard et al. 2017, MobileNets: efficient convolutional neural networks for mobile vision",
        )
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        let mut channels = CHANNELS;
        for width in &mut channels[3..=6] {
            *width = options.scaled(*width);
        }
        net.within("cnn.0", |net| {
            net.conv(0, Conv::same(channels[0], 3).bias()).batch_norm(1).relu6(2).max_pool(3, 2, 2, 0);
        });
        for (block, &out) in channels.iter().enumerate().skip(1) {
            net.within(format!("cnn.{block}"), |net| {
                let inputs = net.channels();
                net.conv(0, Conv::same(inputs, 3).groups(inputs).bias()).batch_norm(1).relu6(2);
                net.conv(3, Conv::new(out, 1).bias());
                if block <= POOLED {
                    net.max_pool(4, 2, 2, 0);
                }
            });
        }
    }

    /// Adds pooling and the linear layer.
    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("cnn.8", 1).flatten("flatten").linear("fc.0", options.classes.len());
    }
}
