//! VGG (Simonyan & Zisserman 2015): stages of 3×3 convolutions, each ending in max pooling that halves the image, then
//! linear layers. Module names and initial weights match torchvision's.

use super::architecture::Architecture;
use super::options::Options;
use super::pretraining::Pretraining;
use crate::builder::{Builder, Conv};
use crate::init::Init;
use lopper_engine::About;

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

/// Configurations of the paper's table 1: number of convolutions and of filters in each stage.
pub(super) const A: &[(usize, usize)] = &[(1, 64), (1, 128), (2, 256), (2, 512), (2, 512)];
pub(super) const B: &[(usize, usize)] = &[(2, 64), (2, 128), (2, 256), (2, 512), (2, 512)];
pub(super) const D: &[(usize, usize)] = &[(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];
pub(super) const E: &[(usize, usize)] = &[(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)];

impl Vgg {
    /// Creates the 11-layer network.
    pub(super) const fn vgg11(norm: bool) -> Self {
        Self::imagenet(A, norm)
    }

    /// Creates the 13-layer network.
    pub(super) const fn vgg13(norm: bool) -> Self {
        Self::imagenet(B, norm)
    }

    /// Creates the 16-layer network.
    pub(super) const fn vgg16(norm: bool) -> Self {
        Self::imagenet(D, norm)
    }

    /// Creates the 19-layer network.
    pub(super) const fn vgg19(norm: bool) -> Self {
        Self::imagenet(E, norm)
    }

    /// Creates the network of these stages for 32×32 images, with batch norm and narrow linear layers, as
    /// `chenyaofo/pytorch-cifar-models` publishes it. Larger images are averaged before the linear layers.
    pub(super) const fn cifar(stages: &'static [(usize, usize)]) -> Self {
        Self { pool: 1, hidden: 512, ..Self::imagenet(stages, true) }
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
    fn about(&self) -> About {
        const WHAT: &str = "stages of 3×3 convolutions, each halved by max pooling, then three linear layers";
        About::new(
            WHAT,
            "Simonyan & Zisserman 2015, Very deep convolutional networks for large-scale image recognition",
        )
    }

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

    fn pretraining(&self) -> Pretraining {
        // Of the networks that average to a single pixel, only those for CIFAR-10 are published.
        if self.pool == 1 { Pretraining::CIFAR } else { Pretraining::TORCHVISION }
    }

    /// timm's names (`vgg16_bn`): its hidden layers are convolutions.
    fn our_name(&self, theirs: &str) -> Option<String> {
        let (module, slot) = theirs.rsplit_once('.')?;
        let ours = match module {
            "pre_logits.fc1" => 0,
            "pre_logits.fc2" => 3,
            "head.fc" => 6,
            _ => return None,
        };
        Some(format!("classifier.{ours}.{slot}"))
    }
}
