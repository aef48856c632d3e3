//! ResNet (He et al. 2016): stages of blocks whose output is added to their input. Module names and initial weights
//! match torchvision's; layers without parameters are named as in its feature extraction (`relu_1` is a block's second
//! use of `relu`).

use super::architecture::Architecture;
use super::options::Options;
use crate::builder::{Builder, Conv};
use crate::init::Init;

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
    /// 1×1 down to the width, 3×3, 1×1 up to four times the width. The 3×3 convolution has the stride ("v1.5").
    Bottleneck,
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
        Self { block: Block::Bottleneck, blocks, stem: Stem::Imagenet }
    }

    /// Creates three basic blocks: a teacher for 32×32 images, with 45 million multiply-accumulates per image.
    pub(super) const fn resnet8() -> Self {
        Self { block: Block::Basic, blocks: &[1, 1, 1], stem: Stem::Small }
    }
}

impl Architecture for ResNet {
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
            let width = options.scaled(64 << stage);
            for index in 0..blocks {
                let halves = index == 0 && (stage > 0 || self.stem == Stem::Small);
                net.within(format!("layer{}.{index}", stage + 1), |net| {
                    self.block.build(net, width, if halves { 2 } else { 1 });
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
    fn build(self, net: &mut Builder, width: usize, stride: usize) {
        let (input, channels) = (net.at(), net.channels());
        match self {
            Self::Basic => {
                net.conv("conv1", Conv::same(width, 3).stride(stride)).batch_norm("bn1").relu("relu");
                net.conv("conv2", Conv::same(width, 3)).batch_norm("bn2");
            }
            Self::Bottleneck => {
                net.conv("conv1", Conv::new(width, 1)).batch_norm("bn1").relu("relu");
                net.conv("conv2", Conv::same(width, 3).stride(stride)).batch_norm("bn2").relu("relu_1");
                net.conv("conv3", Conv::new(4 * width, 1)).batch_norm("bn3");
            }
        }
        let (main, out) = (net.at(), net.channels());
        let mut shortcut = input;
        if stride != 1 || channels != out {
            net.go_to(input).within("downsample", |net| {
                net.conv(0, Conv::new(out, 1).stride(stride)).batch_norm(1);
            });
            shortcut = net.at();
        }
        let last = if self == Self::Basic { "relu_1" } else { "relu_2" };
        net.go_to(main).add("add", shortcut).relu(last);
    }
}
