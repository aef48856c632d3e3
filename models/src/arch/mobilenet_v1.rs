//! MobileNet (Howard et al. 2017): 3×3 convolutions in two steps, one that filters each channel separately and one that
//! mixes channels. Module names match timm's `mobilenetv1_100`.

use super::architecture::Architecture;
use super::options::Options;
use super::pretraining::Pretraining;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::info::Filter;

/// ```text
/// stem    conv3×3 stride 2 ─ bn ─ relu6
/// block   depthwise 3×3 ─ bn ─ relu6 ─ conv1×1 ─ bn ─ relu6       blocks.0.0, blocks.1.0, …
/// head    mean over the image ─ linear
/// ```
/// Scaled widths are rounded to multiples of 8, as in timm.
pub(super) struct MobileNetV1;

/// Stages: channels, blocks, and stride of the first block.
const STAGES: [(usize, usize, usize); 5] = [(64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2)];

impl Architecture for MobileNetV1 {
    fn about(&self) -> About {
        const WHAT: &str = "depthwise 3×3 and 1×1 convolutions in turn";
        About::new(
            WHAT,
            "Howard et al. 2017, MobileNets: efficient convolutional neural networks for mobile vision",
        )
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::KaimingFanOut, Init::Normal { std: 0.01 });
        net.conv("conv_stem", Conv::same(options.rounded(32), 3).stride(2)).batch_norm("bn1").relu6("act1");
        for (stage, (channels, blocks, first_stride)) in STAGES.into_iter().enumerate() {
            for block in 0..blocks {
                let stride = if block == 0 { first_stride } else { 1 };
                net.within(format_args!("blocks.{stage}.{block}"), |net| {
                    let inputs = net.channels();
                    net.conv("conv_dw", Conv::same(inputs, 3).stride(stride).groups(inputs));
                    net.batch_norm("bn1").relu6("act1");
                    net.conv("conv_pw", Conv::new(options.rounded(channels), 1))
                        .batch_norm("bn2")
                        .relu6("act2");
                });
            }
        }
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("global_pool", 1)
            .flatten("flatten")
            .linear("classifier", options.classes.len());
    }

    fn pretraining(&self) -> Pretraining {
        Pretraining { mean: [0.5; 3], std: [0.5; 3], filter: Filter::Bicubic, ..Pretraining::TORCHVISION }
    }
}
