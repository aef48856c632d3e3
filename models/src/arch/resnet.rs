//! ResNet (He et al. 2016): stages of blocks whose output is added to their input; ResNeXt (Xie et al. 2017), whose 3×3
//! convolutions have groups; and Wide ResNet (Zagoruyko & Komodakis 2016), whose 3×3 convolutions have more channels.
//! Module names and initial weights match torchvision's; layers without parameters are named as in its feature
//! extraction (`relu_1` is a block's second use of `relu`).

use super::architecture::Architecture;
use super::options::Options;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;

/// Network of the ResNet family.
///
/// ```text
/// stem    conv ─ bn ─ relu ─ max pool?
/// stage   block × n                                    layer1.0, layer1.1, …
/// block   ─┬─ conv ─ bn ─ relu ─ … ─ conv ─ bn ─ add ─ relu
///          └─ (conv1×1 ─ bn if the shape changes) ────┘
/// head    mean over the image ─ linear
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct ResNet {
    block: Block,
    /// Number of blocks in each stage.
    blocks: &'static [usize],
    stem: Stem,
}

/// Main path of a residual block.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1 down to the groups' channels, 3×3, 1×1 up to four times the width. The 3×3 convolution has the stride
    /// ("v1.5").
    Bottleneck {
        /// Groups of the 3×3 convolution.
        groups: usize,
        /// Channels of each group in the first stage.
        channels: usize,
    },
}

/// Layers before the blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stem {
    /// For ImageNet: a 7×7 convolution that halves the image, then max pooling that halves it again.
    Imagenet,
    /// For small images: 3×3 at full size; the first stage halves the image instead.
    Small,
}

impl ResNet {
    /// Creates stages of basic blocks (ResNet-18 and -34).
    pub(super) const fn basic(blocks: &'static [usize]) -> Self {
        Self { block: Block::Basic, blocks, stem: Stem::Imagenet }
    }

    /// Creates stages of bottleneck blocks (ResNet-50, -101 and -152).
    pub(super) const fn bottleneck(blocks: &'static [usize]) -> Self {
        Self::grouped(blocks, 1, 64)
    }

    /// Creates stages of bottleneck blocks whose 3×3 convolutions have `groups` groups of `channels` channels in the
    /// first stage (ResNeXt; Wide ResNet with one group).
    pub(super) const fn grouped(blocks: &'static [usize], groups: usize, channels: usize) -> Self {
        Self { block: Block::Bottleneck { groups, channels }, blocks, stem: Stem::Imagenet }
    }

    /// Creates three basic blocks: a teacher for 32×32 images, with 45 million multiply-accumulates per image.
    pub(super) const fn resnet8() -> Self {
        Self { block: Block::Basic, blocks: &[1, 1, 1], stem: Stem::Small }
    }
}

impl Architecture for ResNet {
    fn about(&self) -> About {
        const HE: &str = "He et al. 2016, Deep residual learning for image recognition";
        const XIE: &str = "Xie et al. 2017, Aggregated residual transformations for deep neural networks";
        match self.block {
            Block::Basic => About::new("relu(x + F(x)), F two 3×3 convolutions", HE),
            Block::Bottleneck { groups: 2.., .. } => {
                About::new("relu(x + F(x)), F a bottleneck in groups", XIE)
            }
            Block::Bottleneck { channels: 65.., .. } => About::new(
                "relu(x + F(x)), F a wide bottleneck",
                "Zagoruyko & Komodakis 2016, Wide residual networks",
            ),
            Block::Bottleneck { .. } => About::new("relu(x + F(x)), F a bottleneck of 1×1, 3×3 and 1×1", HE),
        }
    }

    /// Adds everything up to the last block.
    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::KaimingFanOut, Init::Uniform);
        match self.stem {
            Stem::Imagenet => {
                let conv = Conv::same(options.scaled(64), 7).stride(2);
                net.conv("conv1", conv).batch_norm("bn1").relu("relu").max_pool("maxpool", 3, 2, 1);
            }
            Stem::Small => {
                net.conv("conv1", Conv::same(options.scaled(32), 3)).batch_norm("bn1").relu("relu");
            }
        }
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            for index in 0..blocks {
                let halves = index == 0 && (stage > 0 || self.stem == Stem::Small);
                net.within(format!("layer{}.{index}", stage + 1), |net| {
                    self.block.build(net, options, stage, if halves { 2 } else { 1 });
                });
            }
        }
    }

    /// Adds pooling and the linear layer.
    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten").linear("fc", options.classes.len());
    }
}

impl Block {
    fn build(self, net: &mut Builder, options: &Options, stage: usize, stride: usize) {
        let (input, inputs, width) = (net.at(), net.channels(), options.scaled(64 << stage));
        match self {
            Self::Basic => {
                net.conv("conv1", Conv::same(width, 3).stride(stride)).batch_norm("bn1").relu("relu");
                net.conv("conv2", Conv::same(width, 3)).batch_norm("bn2");
            }
            Self::Bottleneck { groups, channels } => {
                let inner = groups * options.scaled(channels << stage);
                let conv2 = Conv::same(inner, 3).stride(stride).groups(groups);
                net.conv("conv1", Conv::new(inner, 1)).batch_norm("bn1").relu("relu");
                net.conv("conv2", conv2).batch_norm("bn2").relu("relu_1");
                net.conv("conv3", Conv::new(4 * width, 1)).batch_norm("bn3");
            }
        }
        let (main, out) = (net.at(), net.channels());
        let mut shortcut = input;
        if stride != 1 || inputs != out {
            net.go_to(input).within("downsample", |net| {
                net.conv(0, Conv::new(out, 1).stride(stride)).batch_norm(1);
            });
            shortcut = net.at();
        }
        let last = if self == Self::Basic { "relu_1" } else { "relu_2" };
        net.go_to(main).add("add", shortcut).relu(last);
    }
}
