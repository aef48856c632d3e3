//! MobileNetV3 (Howard et al. 2019): the blocks of MobileNetV2 with widths that a search chose, squeeze-and-excitation,
//! and hard swish in the deeper layers. Module names and initial weights match torchvision's.

use super::architecture::Architecture;
use super::blocks::{Norm, conv_norm, squeeze_excite};
use super::options::{Options, multiple_of_8};
use super::pretraining::Pretraining;
use super::timm::BlockLayer;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::info::Filter;
use lopper_engine::layer::Activation;

/// ```text
/// stem    conv3×3 stride 2 ─ bn ─ hard swish
/// block   ─┬─ conv1×1 ─ bn ─ act ─ depthwise k×k ─ bn ─ act ─ (squeeze-excite) ─ conv1×1 ─ bn ─ add
///          └──────────── if the shape stays the same ────────────────────────────────────────┘
/// last    conv1×1 ─ bn ─ hard swish
/// head    mean over the image ─ linear ─ hard swish ─ dropout ─ linear
/// ```
/// The first block does not widen. Widths are rounded to multiples of 8.
#[derive(Clone, Copy, Debug)]
pub(super) struct MobileNetV3 {
    stages: &'static [Stage],
    /// Width of the hidden linear layer.
    hidden: usize,
    norm: Norm,
    filter: Filter,
    /// Whether it is timm that publishes the network.
    in_timm: bool,
}

/// Blocks of one output width.
#[derive(Clone, Copy, Debug)]
struct Stage {
    channels: usize,
    kernel: usize,
    /// Channels between the 1×1 convolutions of each block.
    wide: &'static [usize],
    squeezes: bool,
    activation: Activation,
    /// Stride of the first block.
    stride: usize,
}

/// A stage with ReLU.
const fn relu(
    channels: usize,
    kernel: usize,
    wide: &'static [usize],
    squeezes: bool,
    stride: usize,
) -> Stage {
    Stage { channels, kernel, wide, squeezes, activation: Activation::Relu, stride }
}

/// A stage with hard swish.
const fn swish(
    channels: usize,
    kernel: usize,
    wide: &'static [usize],
    squeezes: bool,
    stride: usize,
) -> Stage {
    Stage { activation: Activation::HardSwish, ..relu(channels, kernel, wide, squeezes, stride) }
}

/// Filters of the stem.
const STEM: usize = 16;

impl MobileNetV3 {
    pub(super) const LARGE: Self = Self {
        stages: &[
            relu(16, 3, &[16], false, 1),
            relu(24, 3, &[64, 72], false, 2),
            relu(40, 5, &[72, 120, 120], true, 2),
            swish(80, 3, &[240, 200, 184, 184], false, 2),
            swish(112, 3, &[480, 672], true, 1),
            swish(160, 5, &[672, 960, 960], true, 2),
        ],
        hidden: 1280,
        norm: Norm::TENSORFLOW,
        filter: Filter::Bilinear,
        in_timm: false,
    };

    pub(super) const SMALL: Self = Self {
        stages: &[
            relu(16, 3, &[16], true, 2),
            relu(24, 3, &[72, 88], false, 2),
            swish(40, 5, &[96, 240, 240], true, 2),
            swish(48, 5, &[120, 144], true, 1),
            swish(96, 5, &[288, 576, 576], true, 2),
        ],
        hidden: 1024,
        ..Self::LARGE
    };

    /// The network as timm publishes it, with PyTorch's ε.
    pub(super) const fn of_timm(self) -> Self {
        Self { norm: Norm::PYTORCH, filter: Filter::Bicubic, in_timm: true, ..self }
    }

    fn blocks(&self) -> usize {
        self.stages.iter().map(|stage| stage.wide.len()).sum()
    }

    fn block(&self, net: &mut Builder, options: &Options, stage: &Stage, index: usize) {
        let (input, channels) = (net.at(), net.channels());
        let (wide, out) = (options.rounded(stage.wide[index]), options.rounded(stage.channels));
        let stride = if index == 0 { stage.stride } else { 1 };
        net.within("block", |net| {
            let mut modules = 0..;
            let mut next = || modules.next().expect("endless");
            if wide != channels {
                conv_norm(net, next(), Conv::new(wide, 1), self.norm, stage.activation);
            }
            let depthwise = Conv::same(wide, stage.kernel).stride(stride).groups(wide);
            conv_norm(net, next(), depthwise, self.norm, stage.activation);
            if stage.squeezes {
                let squeezed = multiple_of_8((wide / 4) as f64);
                squeeze_excite(net, next(), squeezed, [Activation::Relu, Activation::HardSigmoid]);
            }
            conv_norm(net, next(), Conv::new(out, 1), self.norm, Activation::None);
        });
        if stride == 1 && channels == out {
            net.add("add", input);
        }
    }
}

impl Architecture for MobileNetV3 {
    fn about(&self) -> About {
        const WHAT: &str = "blocks of MobileNetV2 with squeeze-and-excitation and hard swish, by a search";
        About::new(WHAT, "Howard et al. 2019, Searching for MobileNetV3")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::KaimingFanOut, Init::Normal { std: 0.01 });
        net.within("features", |net| {
            let stem = Conv::same(options.rounded(STEM), 3).stride(2);
            conv_norm(net, 0, stem, self.norm, Activation::HardSwish);
            let mut module = 0;
            for stage in self.stages {
                for index in 0..stage.wide.len() {
                    module += 1;
                    net.within(module, |net| self.block(net, options, stage, index));
                }
            }
            let last = Conv::new(6 * net.channels(), 1);
            conv_norm(net, module + 1, last, self.norm, Activation::HardSwish);
        });
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten").within("classifier", |net| {
            net.linear(0, options.rounded(self.hidden)).activation(1, Activation::HardSwish);
            net.dropout(2, 0.2).linear(3, options.classes.len());
        });
    }

    fn pretraining(&self) -> Pretraining {
        Pretraining { filter: self.filter, ..Pretraining::TORCHVISION }
    }

    /// timm's names (`mobilenetv3_large_100`). Its last convolution comes after the mean.
    fn our_name(&self, theirs: &str) -> Option<String> {
        let (module, slot) = theirs.rsplit_once('.')?;
        let last = 1 + self.blocks();
        let ours = match module {
            "conv_stem" => "features.0.0".to_string(),
            "bn1" => "features.0.1".to_string(),
            "conv_head" => "classifier.0".to_string(),
            "classifier" => "classifier.3".to_string(),
            _ => match module.strip_prefix(&format!("blocks.{}.0.", self.stages.len())) {
                Some("conv") => format!("features.{last}.0"),
                Some("bn1") => format!("features.{last}.1"),
                _ => self.block_name(module)?,
            },
        };
        Some(format!("{ours}.{slot}"))
    }

    /// timm's convolution behind the mean is a linear layer here.
    fn published(&self, ours: &str) -> Option<(String, Option<usize>)> {
        let (_, slot) = ours.rsplit_once('.').filter(|_| self.in_timm)?;
        let axes = (ours == "classifier.0.weight").then_some(4);
        let is_it =
            |theirs: &String| self.our_name(&format!("{theirs}.{slot}")).is_some_and(|name| name == ours);
        let theirs = self.modules_of_timm().into_iter().find(is_it)?;
        Some((format!("{theirs}.{slot}"), axes))
    }
}

impl MobileNetV3 {
    /// timm's names of all modules with weights.
    fn modules_of_timm(&self) -> Vec<String> {
        let outer = ["conv_stem", "bn1", "conv_head", "classifier"].map(String::from);
        let last = ["conv", "bn1"].map(|layer| format!("blocks.{}.0.{layer}", self.stages.len()));
        let stages = self.stages.iter().enumerate();
        let blocks = stages.flat_map(|(i, stage)| (0..stage.wide.len()).map(move |block| (i, block)));
        let layers = blocks.flat_map(|(stage, block)| {
            BlockLayer::modules(stage > 0).iter().map(move |layer| format!("blocks.{stage}.{block}.{layer}"))
        });
        outer.into_iter().chain(last).chain(layers).collect()
    }

    /// torchvision's name of a layer of timm's blocks.
    fn block_name(&self, module: &str) -> Option<String> {
        let layer = BlockLayer::parse(module, |stage, _| stage > 0)?;
        let stage = self.stages.get(layer.stage)?;
        let earlier: usize = self.stages[..layer.stage].iter().map(|stage| stage.wide.len()).sum();
        let place = layer.in_block(layer.stage > 0, stage.squeezes);
        (layer.block < stage.wide.len()).then(|| format!("features.{}.{place}", 1 + earlier + layer.block))
    }
}
