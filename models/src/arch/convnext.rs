//! ConvNeXt (Liu et al. 2022): a ResNet in the form of a vision transformer, with 7×7 depthwise convolutions, layer
//! norms and GELU. Module names match torchvision's.

use super::architecture::Architecture;
use super::options::Options;
use super::pretraining::Pretraining;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::layer::Activation;

/// ```text
/// stem    conv4×4 stride 4 ─ layer norm
/// block   ─┬─ depthwise 7×7 ─ layer norm ─ conv1×1 to four times the width ─ gelu ─ conv1×1 ─ scale ─ add
///          └────────────────────────────────────────────────────────────────────────────────────────┘
/// down    layer norm ─ conv2×2 stride 2                                                      between stages
/// head    mean over the image ─ layer norm ─ linear
/// ```
/// Layer norms are over the channels of each pixel. torchvision's linear layers over pixels are 1×1 convolutions here,
/// and its factor for each channel is a depthwise 1×1 convolution. Stochastic depth, which only training uses, is left
/// out.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvNeXt {
    /// Blocks of each stage.
    pub blocks: [usize; 4],
    /// Channels of the first stage, which double from stage to stage.
    pub channels: usize,
    /// Shorter side of an image before its center is cropped, for the published weights.
    pub resize: usize,
}

const EPSILON: f32 = 1e-6;

/// The initial factor of each channel.
const SCALE: f32 = 1e-6;

impl Architecture for ConvNeXt {
    fn about(&self) -> About {
        const WHAT: &str =
            "x + s · F(x), F a 7×7 depthwise convolution, layer norm, and two 1×1 convolutions with GELU";
        About::new(WHAT, "Liu et al. 2022, A ConvNet for the 2020s")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::Normal { std: 0.02 }, Init::Normal { std: 0.02 });
        net.within("features", |net| {
            for (stage, blocks) in self.blocks.into_iter().enumerate() {
                let channels = options.scaled(self.channels << stage);
                net.within(2 * stage, |net| match stage {
                    0 => {
                        net.conv(0, Conv::new(channels, 4).stride(4).bias()).layer_norm(1, EPSILON);
                    }
                    _ => {
                        net.layer_norm(0, EPSILON).conv(1, Conv::new(channels, 2).stride(2).bias());
                    }
                });
                for index in 0..blocks {
                    net.within(format_args!("{}.{index}", 2 * stage + 1), block);
                }
            }
        });
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).within("classifier", |net| {
            net.layer_norm(0, EPSILON).flatten(1).linear(2, options.classes.len());
        });
    }

    fn pretraining(&self) -> Pretraining {
        Pretraining::TORCHVISION.sized(224, self.resize)
    }

    /// torchvision's factors are parameters of the block; timm's names (`convnext_tiny`).
    fn our_name(&self, theirs: &str) -> Option<String> {
        if theirs.ends_with(".layer_scale") {
            return Some(format!("{theirs}.weight"));
        }
        if let Some(block) = theirs.strip_suffix(".gamma") {
            return Some(format!("{}.layer_scale.weight", block_name(block)?));
        }
        let (module, slot) = theirs.rsplit_once('.')?;
        let (outer, layer) = module.rsplit_once('.')?;
        let ours = match (outer, layer) {
            ("stem", _) => format!("features.0.{layer}"),
            ("head", "norm") => "classifier.0".to_string(),
            ("head", "fc") => "classifier.2".to_string(),
            (_, "conv_dw") => format!("{}.block.0", block_name(outer)?),
            (_, "norm") => format!("{}.block.2", block_name(outer)?),
            (_, "fc1") => format!("{}.block.3", block_name(outer.strip_suffix(".mlp")?)?),
            (_, "fc2") => format!("{}.block.5", block_name(outer.strip_suffix(".mlp")?)?),
            _ => {
                let stage: usize =
                    outer.strip_prefix("stages.")?.strip_suffix(".downsample")?.parse().ok()?;
                format!("features.{}.{layer}", 2 * stage)
            }
        };
        Some(format!("{ours}.{slot}"))
    }

    /// torchvision's factors are `[C, 1, 1]`, and its layers over pixels are linear.
    fn published(&self, ours: &str) -> Option<(String, Option<usize>)> {
        if let Some(block) = ours.strip_suffix(".layer_scale.weight") {
            return Some((format!("{block}.layer_scale"), Some(3)));
        }
        let linear = [".block.3.weight", ".block.5.weight"].iter().any(|layer| ours.ends_with(layer));
        linear.then(|| (ours.to_string(), Some(2)))
    }
}

/// torchvision's name of timm's `stages.STAGE.blocks.BLOCK`.
fn block_name(module: &str) -> Option<String> {
    let (stage, block) = module.strip_prefix("stages.")?.split_once(".blocks.")?;
    let stage: usize = stage.parse().ok()?;
    Some(format!("features.{}.{block}", 2 * stage + 1))
}

fn block(net: &mut Builder) {
    let (input, channels) = (net.at(), net.channels());
    net.within("block", |net| {
        net.conv(0, Conv::same(channels, 7).groups(channels).bias()).layer_norm(2, EPSILON);
        net.conv(3, Conv::new(4 * channels, 1).bias()).activation(4, Activation::Gelu);
        net.conv(5, Conv::new(channels, 1).bias());
    });
    net.init(Init::Constant(SCALE), Init::Normal { std: 0.02 });
    net.conv("layer_scale", Conv::new(channels, 1).groups(channels));
    net.init(Init::Normal { std: 0.02 }, Init::Normal { std: 0.02 });
    net.add("add", input);
}
