//! EfficientNet (Tan & Le 2019): inverted residual blocks with squeeze-and-excitation and SiLU, whose depth, width and
//! image size grow together from B0 on. Module names match torchvision's.

use super::architecture::Architecture;
use super::blocks::{Norm, conv_norm, squeeze_excite};
use super::options::Options;
use super::pretraining::Pretraining;
use super::timm::BlockLayer;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::info::Filter;
use lopper_engine::layer::Activation;

/// ```text
/// stem    conv3×3 stride 2 ─ bn ─ silu
/// block   ─┬─ conv1×1 ─ bn ─ silu ─ depthwise k×k ─ bn ─ silu ─ squeeze-excite ─ conv1×1 ─ bn ─ add
///          └──────────── if the shape stays the same ──────────────────────────────────────────┘
/// head    conv1×1 ─ bn ─ silu ─ mean over the image ─ dropout ─ linear
/// ```
/// Blocks of the first stage do not widen. Widths are rounded to multiples of 8. Stochastic depth, which only training
/// uses, is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct EfficientNet {
    /// Multiplier of the widths.
    width: f64,
    /// Multiplier of the number of blocks.
    depth: f64,
    dropout: f32,
    /// Side of the images of the published weights, and the shorter side before its center is cropped.
    size: [usize; 2],
}

/// Stages of B0: factor by which a block widens, kernel, channels, blocks, and stride of the first block.
pub(super) const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
];

/// Filters of the stem.
const STEM: usize = 32;

/// Channels of the last convolution, relative to those before it.
const HEAD: usize = 4;

impl EfficientNet {
    pub(super) const B0: Self = Self { width: 1.0, depth: 1.0, dropout: 0.2, size: [224, 256] };
    pub(super) const B1: Self = Self { width: 1.0, depth: 1.1, dropout: 0.2, size: [240, 256] };
    pub(super) const B2: Self = Self { width: 1.1, depth: 1.2, dropout: 0.3, size: [288, 288] };
    pub(super) const B3: Self = Self { width: 1.2, depth: 1.4, dropout: 0.3, size: [300, 320] };
    pub(super) const B4: Self = Self { width: 1.4, depth: 1.8, dropout: 0.4, size: [380, 384] };

    fn blocks(&self, blocks: usize) -> usize {
        (blocks as f64 * self.depth).ceil() as usize
    }
}

impl Architecture for EfficientNet {
    fn about(&self) -> About {
        const WHAT: &str =
            "blocks of MobileNetV2 with squeeze-and-excitation; depth, width and image grow together";
        About::new(
            WHAT,
            "Tan & Le 2019, EfficientNet: rethinking model scaling for convolutional neural networks",
        )
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        let options = &options.times(self.width);
        net.init(Init::KaimingFanOut, Init::Normal { std: 0.01 });
        net.within("features", |net| {
            let stem = Conv::same(options.rounded(STEM), 3).stride(2);
            conv_norm(net, 0, stem, Norm::PYTORCH, Activation::Silu);
            for (stage, (factor, kernel, channels, blocks, first_stride)) in (1..).zip(STAGES) {
                for block in 0..self.blocks(blocks) {
                    let stride = if block == 0 { first_stride } else { 1 };
                    net.within(format_args!("{stage}.{block}"), |net| {
                        inverted_residual(net, [factor, kernel, options.rounded(channels), stride]);
                    });
                }
            }
            let head = Conv::new(HEAD * net.channels(), 1);
            conv_norm(net, STAGES.len() + 1, head, Norm::PYTORCH, Activation::Silu);
        });
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten").within("classifier", |net| {
            net.dropout(0, self.dropout).linear(1, options.classes.len());
        });
    }

    fn pretraining(&self) -> Pretraining {
        let [size, resize] = self.size;
        Pretraining { filter: Filter::Bicubic, ..Pretraining::TORCHVISION.sized(size, resize) }
    }

    /// timm's names (`efficientnet_b0`).
    fn our_name(&self, theirs: &str) -> Option<String> {
        let (module, slot) = theirs.rsplit_once('.')?;
        let last = STAGES.len() + 1;
        let ours = match module {
            "conv_stem" => "features.0.0".to_string(),
            "bn1" => "features.0.1".to_string(),
            "conv_head" => format!("features.{last}.0"),
            "bn2" => format!("features.{last}.1"),
            "classifier" => "classifier.1".to_string(),
            _ => self.block_name(module)?,
        };
        Some(format!("{ours}.{slot}"))
    }
}

impl EfficientNet {
    /// torchvision's name of a layer of timm's blocks.
    fn block_name(&self, module: &str) -> Option<String> {
        let layer = BlockLayer::parse(module, |stage, _| stage > 0)?;
        let &(.., blocks, _) = STAGES.get(layer.stage)?;
        let place = layer.in_block(layer.stage > 0, true);
        let name = || format!("features.{}.{}.{place}", layer.stage + 1, layer.block);
        (layer.block < self.blocks(blocks)).then(name)
    }
}

fn inverted_residual(net: &mut Builder, [factor, kernel, out, stride]: [usize; 4]) {
    let (input, channels) = (net.at(), net.channels());
    let wide = factor * channels;
    net.within("block", |net| {
        let mut modules = 0..;
        let mut next = || modules.next().expect("endless");
        if factor != 1 {
            conv_norm(net, next(), Conv::new(wide, 1), Norm::PYTORCH, Activation::Silu);
        }
        let depthwise = Conv::same(wide, kernel).stride(stride).groups(wide);
        conv_norm(net, next(), depthwise, Norm::PYTORCH, Activation::Silu);
        squeeze_excite(net, next(), (channels / 4).max(1), [Activation::Silu, Activation::Sigmoid]);
        conv_norm(net, next(), Conv::new(out, 1), Norm::PYTORCH, Activation::None);
    });
    if stride == 1 && channels == out {
        net.add("add", input);
    }
}
