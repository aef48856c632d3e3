//! What the published weights of an architecture expect of their images.

use crate::data::{IMAGENET_MEAN, IMAGENET_STD};
use lopper_engine::info::{Filter, Preparation};

/// How images of ImageNet became the input of published weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pretraining {
    /// Mean of each channel of pixels in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
    /// The filter that resizes.
    pub filter: Filter,
}

impl Pretraining {
    /// torchvision's.
    pub(super) const TORCHVISION: Self =
        Self { mean: IMAGENET_MEAN, std: IMAGENET_STD, filter: Filter::Bilinear };

    /// The preparation at `size` pixels: resized so that the crop is 224 of 256, in proportion.
    pub fn preparation(&self, size: usize) -> Preparation {
        Preparation { filter: self.filter, ..Preparation::torchvision((size * 256).div_ceil(224)) }
    }
}
