//! MobileNetV2 (Sandler et al. 2018): blocks that widen, filter each channel separately, and narrow again. Module names
//! and initial weights match torchvision's.

use super::architecture::Architecture;
use super::blocks::{Norm, conv_norm};
use super::options::Options;
use super::timm::{BlockLayer, Part};
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::layer::Activation;
use std::fmt::Display;

/// ```text
/// first   conv3×3 stride 2 ─ bn ─ relu6
/// block   ─┬─ conv1×1 ─ bn ─ relu6 ─ depthwise 3×3 ─ bn ─ relu6 ─ conv1×1 ─ bn ─ add
///          └──────────── if the shape stays the same ───────────────────────────┘
/// last    conv1×1 ─ bn ─ relu6
/// head    mean over the image ─ dropout ─ linear
/// ```
/// No activation follows the narrow layers ("linear bottlenecks"). The first block does not widen. Scaled widths are
/// rounded to multiples of 8, and the last layer never becomes narrower, as published.
pub(super) struct MobileNetV2;

/// Stages: factor by which a block widens, channels, blocks, and stride of the first block.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

impl Architecture for MobileNetV2 {
    fn about(&self) -> About {
        const WHAT: &str = "x + project(depthwise(widen(x))), without an activation at the narrow ends";
        About::new(WHAT, "Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::KaimingFanOut, Init::Normal { std: 0.01 });
        net.within("features", |net| {
            normalized(net, "0", Conv::same(options.rounded(32), 3).stride(2));
            let mut index = 0;
            for (factor, channels, blocks, first_stride) in STAGES {
                for block in 0..blocks {
                    index += 1;
                    let stride = if block == 0 { first_stride } else { 1 };
                    net.within(index, |net| {
                        inverted_residual(net, factor, options.rounded(channels), stride);
                    });
                }
            }
            normalized(net, index + 1, Conv::new(options.rounded(1280).max(1280), 1));
        });
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten");
        net.within("classifier", |net| {
            net.dropout(0, 0.2).linear(1, options.classes.len());
        });
    }

    /// timm's names (`mobilenetv2_100`).
    fn our_name(&self, theirs: &str) -> Option<String> {
        let (module, slot) = theirs.rsplit_once('.')?;
        let last = 1 + STAGES.iter().map(|&(.., blocks, _)| blocks).sum::<usize>();
        let ours = match module {
            "conv_stem" => "features.0.0".to_string(),
            "bn1" => "features.0.1".to_string(),
            "conv_head" => format!("features.{last}.0"),
            "bn2" => format!("features.{last}.1"),
            "classifier" => "classifier.1".to_string(),
            _ => block_name(module)?,
        };
        Some(format!("{ours}.{slot}"))
    }
}

/// torchvision's name of a layer of timm's blocks.
fn block_name(module: &str) -> Option<String> {
    let layer = BlockLayer::parse(module, |stage, _| stage > 0)?;
    let earlier: usize = STAGES.get(..layer.stage)?.iter().map(|&(.., blocks, _)| blocks).sum();
    let &(.., blocks, _) = STAGES.get(layer.stage)?;
    // The first block has no wide convolution.
    let wide = usize::from(layer.stage > 0);
    let norm = usize::from(layer.norm);
    let place = match layer.part {
        Part::Widen => format!("0.{norm}"),
        Part::Depthwise => format!("{wide}.{norm}"),
        Part::Project => format!("{}", wide + 1 + norm),
        Part::Squeeze | Part::Excite => return None,
    };
    (layer.block < blocks).then(|| format!("features.{}.conv.{place}", 1 + earlier + layer.block))
}

/// Adds a convolution with batch norm and ReLU6, under the module `name`.
fn normalized(net: &mut Builder, name: impl Display, conv: Conv) {
    conv_norm(net, name, conv, Norm::PYTORCH, Activation::Relu6);
}

fn inverted_residual(net: &mut Builder, factor: usize, out: usize, stride: usize) {
    let (input, channels) = (net.at(), net.channels());
    let wide = factor * channels;
    net.within("conv", |net| {
        let mut module = 0;
        if factor != 1 {
            normalized(net, "0", Conv::new(wide, 1));
            module = 1;
        }
        normalized(net, module, Conv::same(wide, 3).stride(stride).groups(wide));
        net.conv(module + 1, Conv::new(out, 1)).batch_norm(module + 2);
    });
    if stride == 1 && channels == out {
        net.add("add", input);
    }
}
