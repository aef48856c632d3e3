//! MNASNet (Tan et al. 2019), variant B1: inverted residual blocks whose kernels and widths a search chose for latency
//! on a phone. Module names match torchvision's.

use super::architecture::Architecture;
use super::options::Options;
use super::timm::{BlockLayer, Part};
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;

/// ```text
/// stem    conv3×3 stride 2 ─ bn ─ relu ─ depthwise 3×3 ─ bn ─ relu ─ conv1×1 ─ bn         layers.0 … layers.7
/// block   ─┬─ conv1×1 ─ bn ─ relu ─ depthwise k×k ─ bn ─ relu ─ conv1×1 ─ bn ─ add        layers.8.0, …
///          └──────────── if the shape stays the same ──────────────────────┘
/// last    conv1×1 ─ bn ─ relu                                                             layers.14 …
/// head    mean over the image ─ dropout ─ linear
/// ```
/// Widths are rounded to multiples of 8; the last layer keeps its 1,280 channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct MnasNet {
    /// Multiplier of the widths, α.
    pub width: f64,
}

/// Stages: factor by which a block widens, kernel, channels, blocks, and stride of the first block.
const STAGES: [(usize, usize, usize, usize, usize); 6] = [
    (3, 3, 24, 3, 2),
    (3, 5, 40, 3, 2),
    (6, 5, 80, 3, 2),
    (6, 3, 96, 2, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
];

/// Module of the first stage.
const FIRST: usize = 8;

/// TensorFlow's momentum 0.9997.
const MOMENTUM: f32 = 3e-4;
const EPSILON: f32 = 1e-5;

impl Architecture for MnasNet {
    fn about(&self) -> About {
        const WHAT: &str = "inverted residual blocks whose kernels and widths a search chose";
        About::new(WHAT, "Tan et al. 2019, MnasNet: platform-aware neural architecture search for mobile")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        let options = &options.times(self.width);
        let stem = options.rounded(32);
        net.init(Init::KaimingFanOut, Init::Normal { std: 0.01 });
        net.within("layers", |net| {
            conv(net, 0, Conv::same(stem, 3).stride(2)).relu(2);
            conv(net, 3, Conv::same(stem, 3).groups(stem)).relu(5);
            conv(net, 6, Conv::new(options.rounded(16), 1));
            for (stage, (factor, kernel, channels, blocks, first_stride)) in STAGES.into_iter().enumerate() {
                for block in 0..blocks {
                    let stride = if block == 0 { first_stride } else { 1 };
                    net.within(format_args!("{}.{block}", FIRST + stage), |net| {
                        inverted_residual(net, [factor, kernel, options.rounded(channels), stride]);
                    });
                }
            }
            conv(net, FIRST + STAGES.len(), Conv::new(1280, 1)).relu(FIRST + STAGES.len() + 2);
        });
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten");
        net.within("classifier", |net| {
            net.dropout(0, 0.2).linear(1, options.classes.len());
        });
    }

    /// timm's names (`mnasnet_100`).
    fn our_name(&self, theirs: &str) -> Option<String> {
        let (module, slot) = theirs.rsplit_once('.')?;
        let ours = match module {
            "conv_stem" => "layers.0".to_string(),
            "bn1" => "layers.1".to_string(),
            "conv_head" => format!("layers.{}", FIRST + STAGES.len()),
            "bn2" => format!("layers.{}", FIRST + STAGES.len() + 1),
            "classifier" => "classifier.1".to_string(),
            _ => block_name(module)?,
        };
        Some(format!("{ours}.{slot}"))
    }
}

/// torchvision's name of a layer of timm's blocks. The first block belongs to torchvision's stem.
fn block_name(module: &str) -> Option<String> {
    let layer = BlockLayer::parse(module, |stage, _| stage > 0)?;
    let index = match layer.part {
        Part::Widen => 0,
        Part::Depthwise => 3,
        Part::Project => 6,
        Part::Squeeze | Part::Excite => return None,
    } + usize::from(layer.norm);
    match layer.stage.checked_sub(1) {
        None => (layer.block == 0).then(|| format!("layers.{index}")),
        Some(stage) => {
            let &(.., blocks, _) = STAGES.get(stage)?;
            let name = || format!("layers.{}.{}.layers.{index}", FIRST + stage, layer.block);
            (layer.block < blocks).then(name)
        }
    }
}

/// Adds a convolution as module `index`, and its batch norm as the next.
fn conv(net: &mut Builder, index: usize, conv: Conv) -> &mut Builder {
    net.conv(index, conv).batch_norm_with(index + 1, MOMENTUM, EPSILON)
}

fn inverted_residual(net: &mut Builder, [factor, kernel, out, stride]: [usize; 4]) {
    let (input, channels) = (net.at(), net.channels());
    let wide = factor * channels;
    net.within("layers", |net| {
        conv(net, 0, Conv::new(wide, 1)).relu(2);
        conv(net, 3, Conv::same(wide, kernel).stride(stride).groups(wide)).relu(5);
        conv(net, 6, Conv::new(out, 1));
    });
    if stride == 1 && channels == out {
        net.add("add", input);
    }
}
