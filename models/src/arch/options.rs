//! Options of an architecture.

use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// Options for building a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Name of each class.
    pub classes: Vec<String>,
    /// Width multiplier: every layer has `⌊width · channels⌋` channels, at least 1. MobileNets, MNASNets and
    /// EfficientNets round to multiples of 8 instead; in ResNeXt and RegNet it scales the channels of each group.
    pub width: f64,
    /// `[H, W, C]` of the images.
    pub input: [usize; 3],
    /// Seed of the initial weights. With `None` they are zero, which saves time if they are only counted or
    /// overwritten.
    pub seed: Option<u64>,
    /// Classifier on top of the body.
    pub head: Head,
}

/// Classifier on top of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// The architecture's own classifier.
    #[default]
    Own,
    /// fastai's head: mean and maximum over the image, then two linear layers with batch norm and dropout.
    Fastai,
}

impl Options {
    /// Creates options with full width, seed 0 and the architecture's own classifier, for `classes` and images of
    /// `[H, W, C]`.
    pub fn new(classes: Vec<String>, input: [usize; 3]) -> Self {
        Self { classes, width: 1.0, input, seed: Some(0), head: Head::Own }
    }

    /// The options of a network that is published at several widths, at the one that is `multiplier` times as wide.
    pub(super) fn times(&self, multiplier: f64) -> Self {
        Self { width: self.width * multiplier, ..self.clone() }
    }

    /// Scales a channel count of the paper by the width multiplier.
    pub(super) fn scaled(&self, channels: usize) -> usize {
        ((channels as f64 * self.width) as usize).max(1)
    }

    /// Scales a channel count to the nearest multiple of 8, at least 8, that is not below 90 % of the exact value, as
    /// MobileNets and EfficientNets do.
    pub(super) fn rounded(&self, channels: usize) -> usize {
        multiple_of_8(channels as f64 * self.width)
    }

    pub(super) fn check(&self) -> Result<()> {
        // The bound exceeds any published multiplier, and keeps a typo from requesting terabytes.
        if !(self.width > 0.0 && self.width <= 16.0) {
            return Err(Error::invalid(format!(
                "width: expected a multiplier above 0, at most 16, found {}",
                self.width
            )));
        }
        if self.classes.is_empty() {
            return Err(Error::invalid("classes: expected at least one"));
        }
        if self.input.contains(&0) {
            return Err(Error::invalid(format!("input: expected [H, W, C] above 0, found {:?}", self.input)));
        }
        Ok(())
    }
}

/// The nearest multiple of 8, at least 8, that is not below 90 % of `exact`.
pub(super) fn multiple_of_8(exact: f64) -> usize {
    let rounded = ((exact + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * exact { rounded + 8 } else { rounded }
}

impl Default for Options {
    /// Creates options for ten numbered classes and color images of 224×224 pixels.
    fn default() -> Self {
        Self::new(numbered_classes(10), [224, 224, 3])
    }
}

/// Returns names for `count` unnamed classes: `0`, `1`, ….
pub fn numbered_classes(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}
