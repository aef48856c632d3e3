//! SqueezeNet (Iandola et al. 2016): convolutions behind narrow 1×1 convolutions, and no linear layer. Module names
//! match torchvision's, and initial weights have the variances of torchvision's.

use super::architecture::Architecture;
use super::options::Options;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;
use lopper_engine::layer::{FixedWindow, Pool};

/// ```text
/// stem    conv ─ relu ─ max pool
/// fire    conv1×1 ─ relu ─┬─ conv1×1 ─ relu ─ concat         features.3, …
///                         └─ conv3×3 ─ relu ───┘
/// head    dropout ─ conv1×1 to the classes ─ relu ─ mean over the image
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct SqueezeNet {
    /// Filters and kernel of the stem.
    stem: (usize, usize),
    /// The fire modules between poolings: narrow channels, and channels of each branch.
    fires: &'static [&'static [(usize, usize)]],
}

impl SqueezeNet {
    /// Creates the network of the paper.
    pub(super) const V1_0: Self = Self {
        stem: (96, 7),
        fires: &[
            &[(16, 64), (16, 64), (32, 128)],
            &[(32, 128), (48, 192), (48, 192), (64, 256)],
            &[(64, 256)],
        ],
    };

    /// Creates the authors' later version: earlier pooling, less than half of the multiply-accumulates.
    pub(super) const V1_1: Self = Self {
        stem: (64, 3),
        fires: &[
            &[(16, 64), (16, 64)],
            &[(32, 128), (32, 128)],
            &[(48, 192), (48, 192), (64, 256), (64, 256)],
        ],
    };
}

impl Architecture for SqueezeNet {
    fn about(&self) -> About {
        const WHAT: &str = "narrow 1×1 convolutions before wide ones; the classes come from a convolution";
        About::new(WHAT, "Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters")
    }

    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::KaimingFanIn, Init::KaimingFanIn);
        let mut index = 0..;
        let mut next = move || index.next().expect("endless");
        let window = FixedWindow { ceil_mode: true, ..FixedWindow::square(3, 2, 0) };
        net.within("features", |net| {
            let (filters, kernel) = self.stem;
            net.conv(next(), Conv::new(options.scaled(filters), kernel).stride(2).bias()).relu(next());
            for fires in self.fires {
                net.pool(next(), Pool::max(window));
                for &(narrow, wide) in *fires {
                    net.within(next(), |net| fire(net, options.scaled(narrow), options.scaled(wide)));
                }
            }
        });
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        net.init(Init::Normal { std: 0.01 }, Init::KaimingFanIn).within("classifier", |net| {
            net.dropout(0, 0.5).conv(1, Conv::new(options.classes.len(), 1).bias()).relu(2);
            net.adaptive_avg_pool(3, 1);
        });
        net.flatten("flatten");
    }
}

fn fire(net: &mut Builder, narrow: usize, wide: usize) {
    let squeezed = net.conv("squeeze", Conv::new(narrow, 1).bias()).relu("squeeze_activation").at();
    let small = net.conv("expand1x1", Conv::new(wide, 1).bias()).relu("expand1x1_activation").at();
    net.go_to(squeezed);
    let large = net.conv("expand3x3", Conv::same(wide, 3).bias()).relu("expand3x3_activation").at();
    net.concat("concat", &[small, large]);
}
