//! The residual networks of He et al. (2016) for CIFAR-10: three stages of 16, 32 and 64 channels, and parameter-free
//! shortcuts ("option A": every second pixel, new channels zero).
//! Names and initial weights match `akamaster/pytorch_resnet_cifar10`.

use super::architecture::Architecture;
use super::options::Options;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::Layer;

/// Network of 6n + 2 layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct CifarResNet {
    /// Blocks per stage, n.
    pub blocks: usize,
}

impl Architecture for CifarResNet {
    /// Adds everything up to the last block.
    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::KaimingFanIn, Init::KaimingFanIn);
        net.conv("conv1", Conv::same(options.scaled(16), 3)).batch_norm("bn1").relu("relu");
        for stage in 0..3 {
            for index in 0..self.blocks {
                let stride = if index == 0 && stage > 0 { 2 } else { 1 };
                net.within(format!("layer{}.{index}", stage + 1), |net| {
                    block(net, options.scaled(16 << stage), stride);
                });
            }
        }
    }

    /// Adds pooling and the linear layer.
    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten").linear("linear", options.classes.len());
    }
}

fn block(net: &mut Builder, width: usize, stride: usize) {
    let (input, new) = (net.at(), width - net.channels());
    net.conv("conv1", Conv::same(width, 3).stride(stride)).batch_norm("bn1").relu("relu");
    let main = net.conv("conv2", Conv::same(width, 3)).batch_norm("bn2").at();
    let mut shortcut = input;
    if stride != 1 {
        let pad = Layer::PadShortcut { stride, before: new / 2, after: new - new / 2 };
        shortcut = net.go_to(input).layer("shortcut", pad).at();
    }
    net.go_to(main).add("add", shortcut).relu("relu_1");
}
