//! The residual networks of He et al. (2016) for CIFAR-10: three stages of 16, 32 and 64 channels. Where the shape
//! changes, the shortcut either has no parameters (the paper's option A: every second pixel, new channels zero) or is a
//! convolution (option B). Names and initial weights match `akamaster/pytorch_resnet_cifar10` (A) and
//! `chenyaofo/pytorch-cifar-models` (B).

use super::architecture::Architecture;
use super::options::Options;
use super::pretraining::Pretraining;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::{About, Layer};

/// Network of 6n + 2 layers, not counting shortcuts.
#[derive(Clone, Copy, Debug)]
pub(super) struct CifarResNet {
    /// Blocks per stage, n.
    pub blocks: usize,
    pub shortcut: Shortcut,
}

/// Shortcuts where the shape changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortcut {
    /// Every second pixel, with zeros for new channels (option A).
    Padded,
    /// A 1×1 convolution and a batch norm (option B).
    Projected,
}

impl CifarResNet {
    /// Creates a network with `blocks` blocks per stage and shortcuts without parameters.
    pub(super) const fn padded(blocks: usize) -> Self {
        Self { blocks, shortcut: Shortcut::Padded }
    }

    /// Creates a network with `blocks` blocks per stage and convolutions as shortcuts.
    pub(super) const fn projected(blocks: usize) -> Self {
        Self { blocks, shortcut: Shortcut::Projected }
    }
}

impl Architecture for CifarResNet {
    fn about(&self) -> About {
        const WHAT: &str = "6n + 2 layers: three stages of n residual blocks for 32×32 images";
        About::new(WHAT, "He et al. 2016, Deep residual learning for image recognition")
    }

    /// Adds everything up to the last block.
    fn body(&self, net: &mut Builder, options: &Options) {
        match self.shortcut {
            Shortcut::Padded => net.init(Init::KaimingFanIn, Init::KaimingFanIn),
            Shortcut::Projected => net.init(Init::KaimingFanOut, Init::Uniform),
        };
        net.conv("conv1", Conv::same(options.scaled(16), 3)).batch_norm("bn1").relu("relu");
        for stage in 0..3 {
            for index in 0..self.blocks {
                let stride = if index == 0 && stage > 0 { 2 } else { 1 };
                net.within(format!("layer{}.{index}", stage + 1), |net| {
                    self.shortcut.block(net, options.scaled(16 << stage), stride);
                });
            }
        }
    }

    /// Adds pooling and the linear layer.
    fn classifier(&self, net: &mut Builder, options: &Options) {
        let name = if self.shortcut == Shortcut::Padded { "linear" } else { "fc" };
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten").linear(name, options.classes.len());
    }

    fn pretraining(&self) -> Pretraining {
        match self.shortcut {
            // That repository normalizes like torchvision.
            Shortcut::Padded => {
                let Pretraining { mean, std, .. } = Pretraining::TORCHVISION;
                Pretraining { mean, std, ..Pretraining::CIFAR }
            }
            Shortcut::Projected => Pretraining::CIFAR,
        }
    }
}

impl Shortcut {
    /// Adds a block of two convolutions and its shortcut.
    fn block(self, net: &mut Builder, width: usize, stride: usize) {
        let (input, new) = (net.at(), width - net.channels());
        net.conv("conv1", Conv::same(width, 3).stride(stride)).batch_norm("bn1").relu("relu");
        let main = net.conv("conv2", Conv::same(width, 3)).batch_norm("bn2").at();
        let mut shortcut = input;
        if stride != 1 {
            net.go_to(input);
            match self {
                Self::Padded => {
                    let pad = Layer::PadShortcut { stride, before: new / 2, after: new - new / 2 };
                    net.layer("shortcut", pad);
                }
                Self::Projected => {
                    net.within("downsample", |net| {
                        net.conv(0, Conv::new(width, 1).stride(stride)).batch_norm(1);
                    });
                }
            }
            shortcut = net.at();
        }
        net.go_to(main).add("add", shortcut).relu("relu_1");
    }
}
