//! GoogLeNet (Szegedy et al. 2015), with batch norm: modules of four branches whose outputs are concatenated. Module
//! names match torchvision's, and initial weights have the variances of torchvision's.

use super::architecture::Architecture;
use super::options::Options;
use super::pretraining::Pretraining;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::layer::{FixedWindow, Pool};

/// ```text
/// stem       conv7×7 stride 2 ─ max pool ─ conv1×1 ─ conv3×3 ─ max pool
/// inception  ─┬─ conv1×1 ──────────────── concat
///             ├─ conv1×1 ─ conv3×3 ─────────┤
///             ├─ conv1×1 ─ conv3×3 ─────────┤
///             └─ max pool 3 ─ conv1×1 ──────┘
/// head       mean over the image ─ dropout ─ linear
/// ```
/// A batch norm and a ReLU follow each convolution. The third branch has 3×3 filters in place of the paper's 5×5, as in
/// torchvision. The two auxiliary classifiers, which only training uses, are left out.
pub(super) struct GoogLeNet;

/// Channels of an inception module: of the first branch; of both convolutions of the second and the third; of the last.
type Inception = (&'static str, [usize; 6]);

/// The modules between poolings.
const STAGES: [&[Inception]; 3] = [
    &[("3a", [64, 96, 128, 16, 32, 32]), ("3b", [128, 128, 192, 32, 96, 64])],
    &[
        ("4a", [192, 96, 208, 16, 48, 64]),
        ("4b", [160, 112, 224, 24, 64, 64]),
        ("4c", [128, 128, 256, 24, 64, 64]),
        ("4d", [112, 144, 288, 32, 64, 64]),
        ("4e", [256, 160, 320, 32, 128, 128]),
    ],
    &[("5a", [256, 160, 320, 32, 128, 128]), ("5b", [384, 192, 384, 48, 128, 128])],
];

impl Architecture for GoogLeNet {
    fn about(&self) -> About {
        const WHAT: &str = "modules of four concatenated branches of 1×1 and 3×3 convolutions";
        About::new(WHAT, "Szegedy et al. 2015, Going deeper with convolutions")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::Normal { std: 0.01 }, Init::Normal { std: 0.01 });
        conv(net, "conv1", Conv::same(options.scaled(64), 7).stride(2));
        max_pool(net, "maxpool1", 3, 2, 0);
        conv(net, "conv2", Conv::new(options.scaled(64), 1));
        conv(net, "conv3", Conv::same(options.scaled(192), 3));
        max_pool(net, "maxpool2", 3, 2, 0);
        for (stage, modules) in STAGES.into_iter().enumerate() {
            match stage {
                0 => {}
                1 => max_pool(net, "maxpool3", 3, 2, 0),
                _ => max_pool(net, "maxpool4", 2, 2, 0),
            }
            for (name, channels) in modules {
                let channels = channels.map(|channels| options.scaled(channels));
                net.within(format_args!("inception{name}"), |net| inception(net, channels));
            }
        }
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten");
        net.dropout("dropout", 0.2).linear("fc", options.classes.len());
    }

    /// torchvision's network converts images from ImageNet's statistics to these itself.
    fn pretraining(&self) -> Pretraining {
        Pretraining { mean: [0.5; 3], std: [0.5; 3], ..Pretraining::TORCHVISION }
    }

    /// The auxiliary classifiers.
    fn is_auxiliary(&self, theirs: &str) -> bool {
        theirs.starts_with("aux1.") || theirs.starts_with("aux2.")
    }
}

fn inception(net: &mut Builder, [one, narrow3, three, narrow5, five, pooled]: [usize; 6]) {
    let input = net.at();
    conv(net, "branch1", Conv::new(one, 1));
    let mut branches = vec![net.at()];
    for (branch, narrow, wide) in [("branch2", narrow3, three), ("branch3", narrow5, five)] {
        net.go_to(input).within(branch, |net| {
            conv(net, "0", Conv::new(narrow, 1));
            conv(net, "1", Conv::same(wide, 3));
        });
        branches.push(net.at());
    }
    net.go_to(input).within("branch4", |net| {
        max_pool(net, "0", 3, 1, 1);
        conv(net, "1", Conv::new(pooled, 1));
    });
    branches.push(net.at());
    net.concat("concat", &branches);
}

/// Adds a convolution with batch norm and ReLU, under the module `name`.
fn conv(net: &mut Builder, name: &str, conv: Conv) {
    net.within(name, |net| {
        net.conv("conv", conv).batch_norm_with("bn", 0.1, 1e-3).relu("relu");
    });
}

/// Adds max pooling whose last windows may reach past the image.
fn max_pool(net: &mut Builder, name: &str, kernel: usize, stride: usize, padding: usize) {
    net.pool(
        name,
        Pool::max(FixedWindow { ceil_mode: true, ..FixedWindow::square(kernel, stride, padding) }),
    );
}
