//! Augmentation of training images, as given in a recipe.

use super::steps::{PRESETS, Step, preset};
use lopper_engine::{Error, Result};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Augmentation of training images: `augment` in a recipe.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Augmentation {
    /// A table: a kind of crop and a flip.
    Simple(Augment),
    /// A text: the name of a preset.
    Preset(String),
    /// A list of steps.
    Steps(Vec<Step>),
}

impl Augmentation {
    /// The steps for images of `size`, or `None` for a simple augmentation.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no preset of this name.
    pub fn steps(&self, size: usize) -> Result<Option<Vec<Step>>> {
        match self {
            Self::Simple(_) => Ok(None),
            Self::Steps(steps) => Ok(Some(steps.clone())),
            Self::Preset(name) => preset(name, size).map(Some).ok_or_else(|| {
                let known = PRESETS.join(", ");
                Error::invalid(format!(
                    "augment: expected {known}, a list of steps or a table, found `{name}`"
                ))
            }),
        }
    }
}

impl Default for Augmentation {
    fn default() -> Self {
        Self::Simple(Augment::default())
    }
}

impl From<Augment> for Augmentation {
    fn from(augment: Augment) -> Self {
        Self::Simple(augment)
    }
}

impl<'de> Deserialize<'de> for Augmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(AugmentationVisitor)
    }
}

/// Tells the three forms apart by their type, so that errors are those of the form.
struct AugmentationVisitor;

impl<'de> Visitor<'de> for AugmentationVisitor {
    type Value = Augmentation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a preset ({}), a list of steps, or a table", PRESETS.join(", "))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> std::result::Result<Augmentation, E> {
        Ok(Augmentation::Preset(name.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> std::result::Result<Augmentation, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(Augmentation::Steps)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Augmentation, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Augmentation::Simple)
    }
}

/// A simple augmentation of training images: a crop and a flip.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// The kind of crop; by default `padded` for IDX files and `resized` for folders.
    pub crop: Option<Crop>,
    /// For `resized`, the minimum and maximum area, as fractions of the image area. At a few dozen pixels, 0.35 leaves
    /// more to recognize than the 0.08 that is customary for ImageNet.
    pub scale: [f64; 2],
    /// For `resized`, the minimum and maximum ratio of width to height.
    pub ratio: [f64; 2],
    /// For `padded`, the padding on every side, in pixels.
    pub padding: usize,
    /// Probability of a horizontal flip.
    pub flip: f64,
}

impl Default for Augment {
    fn default() -> Self {
        Self { crop: None, scale: [0.35, 1.0], ratio: [0.75, 4.0 / 3.0], padding: 4, flip: 0.5 }
    }
}

impl Augment {
    /// Checks the numbers for images of `size`; the error names the invalid option.
    pub(super) fn check(&self, size: usize) -> Result<()> {
        let Self { scale, ratio, padding, flip, .. } = *self;
        let ordered = |[low, high]: [f64; 2], max: f64| low > 0.0 && low <= high && high <= max;
        let rules = [
            (ordered(scale, 1.0), format!("augment.scale: expected 0 < low ≤ high ≤ 1, found {scale:?}")),
            (ordered(ratio, 1e3), format!("augment.ratio: expected 0 < low ≤ high ≤ 1000, found {ratio:?}")),
            (padding <= size, format!("augment.padding: expected at most the size, {size}, found {padding}")),
            ((0.0..=1.0).contains(&flip), format!("augment.flip: expected [0, 1], found {flip}")),
        ];
        rules
            .into_iter()
            .find(|(holds, _)| !holds)
            .map_or(Ok(()), |(_, message)| Err(Error::invalid(message)))
    }
}

/// The way training images are cropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crop {
    /// A random box, resized (`Cut::Resized`).
    Resized,
    /// The whole image, padded and randomly cropped back to size (`Cut::Padded`).
    Padded,
    /// The center, as in validation (`Cut::Center`).
    Center,
}
