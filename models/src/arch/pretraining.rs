//! What the published weights of an architecture expect of their images.

use crate::data::{IMAGENET_MEAN, IMAGENET_STD};
use lopper_engine::info::{Filter, Preparation};

/// How images became the input of published weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pretraining {
    /// Mean of each channel of pixels in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
    /// The filter that resizes.
    pub filter: Filter,
    /// Side of the images in pixels.
    pub size: usize,
    /// Shorter side of an image before its center is cropped to `size`.
    pub resize: usize,
    /// Number of classes.
    pub classes: usize,
}

impl Pretraining {
    /// torchvision's on ImageNet.
    pub(super) const TORCHVISION: Self = Self {
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
        filter: Filter::Bilinear,
        size: 224,
        resize: 256,
        classes: 1000,
    };

    /// On CIFAR-10, with its own mean and deviation.
    pub(super) const CIFAR: Self = Self {
        mean: [0.4914, 0.4822, 0.4465],
        std: [0.2023, 0.1994, 0.2010],
        size: 32,
        resize: 32,
        classes: 10,
        ..Self::TORCHVISION
    };

    /// The same at another size.
    pub(super) const fn sized(self, size: usize, resize: usize) -> Self {
        Self { size, resize, ..self }
    }

    /// The preparation at `size` pixels: resized so that the crop has the published proportion.
    pub fn preparation(&self, size: usize) -> Preparation {
        let shorter = (size * self.resize).div_ceil(self.size);
        Preparation { filter: self.filter, ..Preparation::torchvision(shorter) }
    }
}
