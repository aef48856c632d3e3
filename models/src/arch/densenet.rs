//! DenseNet (Huang et al. 2017), with bottlenecks and compression ("BC"): each layer reads all earlier outputs of its
//! block and adds a few channels. Module names and initial weights match torchvision's.

use super::architecture::Architecture;
use super::options::Options;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::layer::{FixedWindow, Pool};

/// ```text
/// stem        conv7×7 stride 2 ─ bn ─ relu ─ max pool
/// layer       ─┬─ bn ─ relu ─ conv1×1 ─ bn ─ relu ─ conv3×3 ─ concat     features.denseblock1.denselayer1, …
///              └──────────────────────────────────────────────┘
/// transition  bn ─ relu ─ conv1×1 to half of the channels ─ average pool 2
/// head        bn ─ relu ─ mean over the image ─ linear
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct DenseNet {
    /// Layers of each block.
    pub layers: [usize; 4],
    /// Channels that a layer adds, k.
    pub growth: usize,
    /// Filters of the stem.
    pub stem: usize,
}

/// Channels between the convolutions of a layer, relative to those that it adds.
const BOTTLENECK: usize = 4;

impl Architecture for DenseNet {
    fn about(&self) -> About {
        const WHAT: &str = "each layer reads the concatenation of all earlier ones of its block";
        About::new(WHAT, "Huang et al. 2017, Densely connected convolutional networks")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::KaimingFanIn, Init::Uniform);
        let growth = options.scaled(self.growth);
        net.within("features", |net| {
            net.conv("conv0", Conv::same(options.scaled(self.stem), 7).stride(2));
            net.batch_norm("norm0").relu("relu0").max_pool("pool0", 3, 2, 1);
            for (block, layers) in (1..).zip(self.layers) {
                for layer in 1..=layers {
                    net.within(format_args!("denseblock{block}.denselayer{layer}"), |net| dense(net, growth));
                }
                if block < self.layers.len() {
                    net.within(format_args!("transition{block}"), transition);
                }
            }
            net.batch_norm("norm5");
        });
        net.relu("relu");
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.adaptive_avg_pool("avgpool", 1).flatten("flatten").linear("classifier", options.classes.len());
    }

    /// torchvision's published files have the names `denselayer1.norm.1`, which its code renames when it loads them.
    fn our_name(&self, theirs: &str) -> Option<String> {
        let (layer, rest) = theirs.split_once(".denselayer").and_then(|(_, rest)| rest.split_once('.'))?;
        let (kind, rest) = rest.split_once('.')?;
        let (number, slot) = rest.split_once('.')?;
        let is_old = ["norm", "conv"].contains(&kind) && ["1", "2"].contains(&number);
        let block = theirs.split_once(".denselayer")?.0;
        is_old.then(|| format!("{block}.denselayer{layer}.{kind}{number}.{slot}"))
    }
}

fn dense(net: &mut Builder, growth: usize) {
    let input = net.at();
    net.batch_norm("norm1").relu("relu1").conv("conv1", Conv::new(BOTTLENECK * growth, 1));
    let new = net.batch_norm("norm2").relu("relu2").conv("conv2", Conv::same(growth, 3)).at();
    net.concat("concat", &[input, new]);
}

fn transition(net: &mut Builder) {
    let half = (net.channels() / 2).max(1);
    net.batch_norm("norm").relu("relu").conv("conv", Conv::new(half, 1));
    net.pool("pool", Pool::average(FixedWindow::square(2, 2, 0)));
}
