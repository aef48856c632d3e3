//! VGG (Simonyan & Zisserman 2015): stages of 3×3 convolutions, each ending in max pooling that halves the image, then
//! linear layers. Module names and initial weights match torchvision's.

use super::architecture::Architecture;
use super::options::Options;
use crate::builder::{Builder, Conv};
use crate::init::Init;

/// Network of the VGG family.
///
/// ```text
/// stage   (conv3×3 ─ bn? ─ relu) × n ─ max pool 2      features.0, features.1, …
/// pool    adaptive mean to pool × pool
/// head    (linear ─ relu ─ dropout) × 2 ─ linear       classifier.0 … classifier.6
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Vgg {
    /// Number of convolutions and of filters in each stage.
    stages: &'static [(usize, usize)],
    /// Whether a batch norm follows each convolution.
    norm: bool,
    /// Side of the image that the linear layers read.
    pool: usize,
    /// Width of the two hidden linear layers.
    hidden: usize,
    linear_init: Init,
    dropout: f32,
}

impl Vgg {
    /// Creates the 11-layer network (configuration A of the paper).
    pub(super) const fn vgg11(norm: bool) -> Self {
        Self::imagenet(&[(1, 64), (1, 128), (2, 256), (2, 512), (2, 512)], norm)
    }

    /// Creates the 13-layer network (B).
    pub(super) const fn vgg13(norm: bool) -> Self {
        Self::imagenet(&[(2, 64), (2, 128), (2, 256), (2, 512), (2, 512)], norm)
    }

    /// Creates the 16-layer network (D).
    pub(super) const fn vgg16(norm: bool) -> Self {
        Self::imagenet(&[(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], norm)
    }

    /// Creates the 19-layer network (E).
    pub(super) const fn vgg19(norm: bool) -> Self {
        Self::imagenet(&[(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)], norm)
    }

    /// Creates five convolutions with batch norm and three linear layers: a student for 32×32 images, with 15 million
    /// multiply-accumulates per image.
    pub(super) const fn vgg8_bn() -> Self {
        Self {
            stages: &[(1, 32), (1, 64), (1, 128), (2, 128)],
            norm: true,
            pool: 2,
            hidden: 256,
            // The linear layers are narrow: with torchvision's 0.01 their outputs would almost vanish.
            linear_init: Init::KaimingFanIn,
            dropout: 0.25,
        }
    }

    const fn imagenet(stages: &'static [(usize, usize)], norm: bool) -> Self {
        Self { stages, norm, pool: 7, hidden: 4096, linear_init: Init::Normal { std: 0.01 }, dropout: 0.5 }
    }
}

impl Architecture for Vgg {
    /// Adds the convolutions.
    fn body(&self, net: &mut Builder, options: &Options) {
        net.init(Init::KaimingFanOut, self.linear_init);
        let mut index = 0..;
        let mut next = move || index.next().expect("endless");
        net.within("features", |net| {
            for &(convs, filters) in self.stages {
                for _ in 0..convs {
                    net.conv(next(), Conv::same(options.scaled(filters), 3).bias());
                    if self.norm {
                        net.batch_norm(next());
                    }
                    net.relu(next());
                }
                net.max_pool(next(), 2, 2, 0);
            }
        });
    }

    /// Adds the linear layers.
    fn classifier(&self, net: &mut Builder, options: &Options) {
        let hidden = options.scaled(self.hidden);
        net.adaptive_avg_pool("avgpool", self.pool).flatten("flatten");
        net.within("classifier", |net| {
            net.linear(0, hidden).relu(1).dropout(2, self.dropout);
            net.linear(3, hidden).relu(4).dropout(5, self.dropout);
            net.linear(6, options.classes.len());
        });
    }
}
