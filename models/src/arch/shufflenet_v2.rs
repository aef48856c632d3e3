//! ShuffleNetV2 (Ma et al. 2018): each unit works on half of the channels, and a shuffle mixes the halves. Module names
//! match torchvision's.

use super::architecture::Architecture;
use super::options::Options;
use super::pretraining::Pretraining;
use crate::builder::{Builder, Conv};
use lopper_engine::{About, NodeId};

/// ```text
/// stem      conv3×3 stride 2 ─ bn ─ relu ─ max pool
/// unit      first half ─────────────────────────────────────────────────────────────────── concat ─ shuffle
///           second half ─ conv1×1 ─ bn ─ relu ─ depthwise 3×3 ─ bn ─ conv1×1 ─ bn ─ relu ────┘
/// down      ─┬─ depthwise 3×3 stride 2 ─ bn ─ conv1×1 ─ bn ─ relu ─────────────────────── concat ─ shuffle
///            └─ conv1×1 ─ bn ─ relu ─ depthwise 3×3 stride 2 ─ bn ─ conv1×1 ─ bn ─ relu ─────┘
/// head      conv1×1 ─ bn ─ relu ─ mean over the image ─ linear
/// ```
/// The first unit of each stage is a `down`. The shuffle takes channels from both halves in turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShuffleNetV2 {
    /// Channels of each stage.
    pub channels: [usize; 3],
    /// Channels of the last convolution.
    pub last: usize,
    /// Shorter side of an image before its center is cropped, for the published weights.
    pub resize: usize,
}

/// Units of each stage.
const UNITS: [usize; 3] = [4, 8, 4];

/// Filters of the stem.
const STEM: usize = 24;

impl Architecture for ShuffleNetV2 {
    fn about(&self) -> About {
        const WHAT: &str = "units on half of the channels, and a shuffle of both halves";
        About::new(
            WHAT,
            "Ma et al. 2018, ShuffleNet V2: practical guidelines for efficient CNN architecture design",
        )
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.within("conv1", |net| {
            net.conv(0, Conv::same(options.scaled(STEM), 3).stride(2)).batch_norm(1).relu(2);
        });
        net.max_pool("maxpool", 3, 2, 1);
        for (stage, (channels, units)) in (2..).zip(self.channels.into_iter().zip(UNITS)) {
            let half = options.scaled(channels / 2);
            for unit in 0..units {
                net.within(format_args!("stage{stage}.{unit}"), |net| match unit {
                    0 => down(net, half),
                    _ => keep(net, half),
                });
            }
        }
        net.within("conv5", |net| {
            net.conv(0, Conv::new(options.scaled(self.last), 1)).batch_norm(1).relu(2);
        });
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten").linear("fc", options.classes.len());
    }

    fn pretraining(&self) -> Pretraining {
        Pretraining::TORCHVISION.sized(224, self.resize)
    }
}

/// Adds a unit that halves the image.
fn down(net: &mut Builder, half: usize) {
    let (input, channels) = (net.at(), net.channels());
    net.within("branch1", |net| {
        net.conv(0, Conv::same(channels, 3).stride(2).groups(channels)).batch_norm(1);
        net.conv(2, Conv::new(half, 1)).batch_norm(3).relu(4);
    });
    let first = net.at();
    net.go_to(input);
    let second = branch2(net, half, 2);
    shuffle(net, [first, second]);
}

/// Adds a unit that keeps the first half of its channels.
fn keep(net: &mut Builder, half: usize) {
    let halves = net.chunk("chunk", 2);
    let second = branch2(net, half, 1);
    shuffle(net, [halves[0], second]);
}

fn branch2(net: &mut Builder, half: usize, stride: usize) -> NodeId {
    net.within("branch2", |net| {
        net.conv(0, Conv::new(half, 1)).batch_norm(1).relu(2);
        net.conv(3, Conv::same(half, 3).stride(stride).groups(half)).batch_norm(4);
        net.conv(5, Conv::new(half, 1)).batch_norm(6).relu(7);
    });
    net.at()
}

/// Joins two halves, whose channels then alternate.
fn shuffle(net: &mut Builder, halves: [NodeId; 2]) {
    net.concat("concat", &halves).shuffle("shuffle", 2);
}
