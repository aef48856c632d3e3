//! RegNet (Radosavovic et al. 2020): residual networks whose widths grow by a simple rule, which a search over design
//! spaces found. RegNetY adds squeeze-and-excitation. Module names and initial weights match torchvision's.

use super::architecture::Architecture;
use super::blocks::{Norm, conv_norm, squeeze_excite};
use super::options::Options;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::layer::Activation;

/// ```text
/// stem    conv3×3 stride 2 ─ bn ─ relu
/// block   ─┬─ conv1×1 ─ bn ─ relu ─ conv3×3 in groups ─ bn ─ relu ─ (squeeze-excite) ─ conv1×1 ─ bn ─ add ─ relu
///          └─ (conv1×1 ─ bn if the shape changes) ──────────────────────────────────────────────────┘
/// head    mean over the image ─ linear
/// ```
/// The first block of each stage halves the image. The width multiplier scales the channels of each group.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegNet {
    /// Blocks of each stage.
    depths: [usize; 4],
    /// Groups of the 3×3 convolutions of each stage.
    groups: [usize; 4],
    /// Channels of a group.
    channels: [usize; 4],
    /// Whether blocks have squeeze-and-excitation (RegNetY).
    squeezes: bool,
}

/// Filters of the stem.
const STEM: usize = 32;

impl RegNet {
    /// Creates a network of `widths`, which are multiples of the channels of a group.
    pub(super) const fn x(depths: [usize; 4], widths: [usize; 4], channels: [usize; 4]) -> Self {
        let mut groups = [0; 4];
        let mut stage = 0;
        while stage < 4 {
            assert!(widths[stage].is_multiple_of(channels[stage]));
            groups[stage] = widths[stage] / channels[stage];
            stage += 1;
        }
        Self { depths, groups, channels, squeezes: false }
    }

    /// Creates a network of `widths` with squeeze-and-excitation.
    pub(super) const fn y(depths: [usize; 4], widths: [usize; 4], channels: [usize; 4]) -> Self {
        Self { squeezes: true, ..Self::x(depths, widths, channels) }
    }
}

impl Architecture for RegNet {
    fn about(&self) -> About {
        const WHAT: &str = "residual blocks with grouped convolutions, whose widths grow by a simple rule";
        About::new(WHAT, "Radosavovic et al. 2020, Designing network design spaces")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::KaimingFanOut, Init::Normal { std: 0.01 });
        let stem = Conv::same(options.scaled(STEM), 3).stride(2);
        conv_norm(net, "stem", stem, Norm::PYTORCH, Activation::Relu);
        for (stage, depth) in (1..).zip(self.depths) {
            for block in 0..depth {
                net.within(format_args!("trunk_output.block{stage}.block{stage}-{block}"), |net| {
                    self.block(net, options, stage - 1, if block == 0 { 2 } else { 1 });
                });
            }
        }
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten").linear("fc", options.classes.len());
    }

    /// timm's names (`regnetx_008`).
    fn our_name(&self, theirs: &str) -> Option<String> {
        let (module, slot) = theirs.rsplit_once('.')?;
        let ours = match module {
            "stem.conv" => "stem.0".to_string(),
            "stem.bn" => "stem.1".to_string(),
            "head.fc" => "fc".to_string(),
            _ => block_name(module)?,
        };
        Some(format!("{ours}.{slot}"))
    }
}

/// torchvision's name of timm's module `sSTAGE.bBLOCK.PART.LAYER`.
fn block_name(module: &str) -> Option<String> {
    let mut parts = module.strip_prefix('s')?.splitn(3, '.');
    let stage: usize = parts.next()?.parse().ok()?;
    let block: usize = parts.next()?.strip_prefix('b')?.parse().ok()?;
    let (part, layer) = parts.next()?.split_once('.')?;
    let part = match part {
        "conv1" => "f.a",
        "conv2" => "f.b",
        "se" => "f.se",
        "conv3" => "f.c",
        "downsample" => "proj",
        _ => return None,
    };
    let layer = match layer {
        "conv" => "0",
        "bn" => "1",
        "fc1" | "fc2" => layer,
        _ => return None,
    };
    Some(format!("trunk_output.block{stage}.block{stage}-{}.{part}.{layer}", block.checked_sub(1)?))
}

impl RegNet {
    fn block(&self, net: &mut Builder, options: &Options, stage: usize, stride: usize) {
        let (input, inputs, groups) = (net.at(), net.channels(), self.groups[stage]);
        let width = groups * options.scaled(self.channels[stage]);
        net.within("f", |net| {
            conv_norm(net, "a", Conv::new(width, 1), Norm::PYTORCH, Activation::Relu);
            let grouped = Conv::same(width, 3).stride(stride).groups(groups);
            conv_norm(net, "b", grouped, Norm::PYTORCH, Activation::Relu);
            if self.squeezes {
                // A quarter of the channels that the block reads.
                let squeezed = ((inputs as f64 / 4.0).round() as usize).max(1);
                squeeze_excite(net, "se", squeezed, [Activation::Relu, Activation::Sigmoid]);
            }
            conv_norm(net, "c", Conv::new(width, 1), Norm::PYTORCH, Activation::None);
        });
        let (main, mut shortcut) = (net.at(), input);
        if stride != 1 || inputs != width {
            net.go_to(input);
            conv_norm(net, "proj", Conv::new(width, 1).stride(stride), Norm::PYTORCH, Activation::None);
            shortcut = net.at();
        }
        net.go_to(main).add("add", shortcut).relu("activation");
    }
}
