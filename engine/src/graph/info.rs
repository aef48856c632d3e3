//! What a network is made for: the architecture, the classes, and the way from an image file to its input.

use crate::graph::certificate::Certificate;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The architecture and data that a network is made for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Info {
    /// The architecture (`resnet18`).
    pub arch: String,
    /// The image size `[H, W, C]`.
    pub input: [usize; 3],
    /// The class names.
    pub classes: Vec<String>,
    /// The names of the class folders, by label, if they differ from the class names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    /// Mean of each image channel, subtracted from the network's input.
    pub mean: Vec<f32>,
    /// Standard deviation of each image channel, by which the network's input is divided.
    pub std: Vec<f32>,
    /// The way from an image of any size to one of the input's size, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preparation: Option<Preparation>,
    /// What the techniques that made the network claim about its function, and what was measured, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
}

impl Info {
    /// The names of the class folders, by label.
    pub fn class_folders(&self) -> &[String] {
        if self.folders.is_empty() { &self.classes } else { &self.folders }
    }
}

/// The way from an image of any size to one of the input's size: resizing, then cropping the center.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// The size before the center is cropped. A side that is too short is padded with black, as in torchvision.
    pub resize: Resize,
    /// The filter that resizes.
    pub filter: Filter,
    /// Whether a reduction averages over all pixels that it covers. Without it, only the nearest ones count.
    pub antialias: bool,
    /// Whether the image is first turned upright as its EXIF data say.
    #[serde(default)]
    pub orient: bool,
}

/// The size of an image before its center is cropped. As text: `none`, `square`, `256`, `center:0.875`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "String")]
pub enum Resize {
    /// The size of the file.
    None,
    /// The input's size; the image's proportions change.
    Square,
    /// The shorter side in pixels; the proportions stay (torchvision's `Resize(n)`).
    Shorter(usize),
    /// The centered square of this share of the shorter side, in `(0, 1]`, is resized to the input's size.
    Center(f64),
}

/// A filter that resizes images, with torchvision's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// A triangle over two pixels.
    #[default]
    Bilinear,
    /// A cubic over four pixels, with a = −½ if antialiased, else −¾ (Keys 1981).
    Bicubic,
    /// A windowed sinc over six pixels.
    Lanczos,
}

impl Filter {
    /// All filters with their names.
    pub const NAMED: [(Self, &'static str); 4] = [
        (Self::Nearest, "nearest"),
        (Self::Bilinear, "bilinear"),
        (Self::Bicubic, "bicubic"),
        (Self::Lanczos, "lanczos"),
    ];
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMED.iter().find(|(filter, _)| filter == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::NAMED.iter().find(|(_, name)| *name == text);
        found.map(|(filter, _)| *filter).ok_or_else(|| {
            let names = Self::NAMED.map(|(_, name)| name).join(", ");
            Error::invalid(format!("filter: expected one of {names}, found `{text}`"))
        })
    }
}

/// Longest side to which an image is resized.
const MAX_SIDE: usize = 16_384;

impl Preparation {
    /// The former preparation of this library: the centered square of `fraction` of the shorter side, resized.
    pub fn center(fraction: f64) -> Self {
        Self { resize: Resize::Center(fraction), filter: Filter::Bilinear, antialias: true, orient: false }
    }

    /// torchvision's preparation: the shorter side resized to `shorter` pixels, and the center cropped.
    pub fn torchvision(shorter: usize) -> Self {
        Self { resize: Resize::Shorter(shorter), ..Self::center(1.0) }
    }

    /// Checks that the size is positive and not a typo, and that the filter exists for the resizing.
    pub fn check(&self) -> Result<()> {
        match self.resize {
            Resize::Shorter(side) if !(1..=MAX_SIDE).contains(&side) => {
                Err(Error::invalid(format!("resize: expected 1 to {MAX_SIDE} pixels, found {side}")))
            }
            Resize::Center(fraction) if !(1e-3..=1.0).contains(&fraction) => {
                Err(Error::invalid(format!("center_fraction: expected [0.001, 1], found {fraction:?}")))
            }
            Resize::Center(_) if self.filter != Filter::Bilinear || !self.antialias => {
                let problem = "a centered square is resized by the antialiased bilinear filter only";
                Err(Error::invalid(format!("resize: {problem}; use a number of pixels instead of center")))
            }
            _ if self.filter == Filter::Lanczos && !self.antialias => {
                Err(Error::invalid("antialias: the lanczos filter is always antialiased"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resize, filter, antialias, orient } = self;
        write!(f, "resize {resize}, {filter}")?;
        let remarks = [(!antialias, ", not antialiased"), (*orient, ", turned upright")];
        remarks.iter().filter(|(holds, _)| *holds).try_for_each(|(_, text)| f.write_str(text))
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Square => f.write_str("square"),
            Self::Shorter(side) => write!(f, "{side}"),
            Self::Center(fraction) => write!(f, "center:{fraction}"),
        }
    }
}

impl FromStr for Resize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => return Ok(Self::None),
            "square" => return Ok(Self::Square),
            _ => {}
        }
        let fraction = text.strip_prefix("center:").and_then(|fraction| fraction.parse().ok());
        let side = text.parse().ok().map(Self::Shorter);
        side.or(fraction.map(Self::Center)).ok_or_else(|| {
            let expected = "none, square, the shorter side in pixels, or center:SHARE";
            Error::invalid(format!("resize: expected {expected}, found `{text}`"))
        })
    }
}

/// A number of pixels or a word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Number(usize),
    Word(String),
}

impl TryFrom<Text> for Resize {
    type Error = Error;

    fn try_from(text: Text) -> Result<Self> {
        match text {
            Text::Number(side) => Ok(Self::Shorter(side)),
            Text::Word(word) => word.parse(),
        }
    }
}

impl From<Resize> for String {
    fn from(resize: Resize) -> Self {
        resize.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preparations_round_trip_as_json() {
        for resize in [Resize::None, Resize::Square, Resize::Shorter(256), Resize::Center(0.875)] {
            for (filter, _) in Filter::NAMED {
                let preparation = Preparation { resize, filter, antialias: true, orient: true };
                let text = serde_json::to_string(&preparation).unwrap();
                assert_eq!(serde_json::from_str::<Preparation>(&text).unwrap(), preparation, "{text}");
                assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter);
            }
        }
        assert_eq!(serde_json::from_str::<Resize>("64").unwrap(), Resize::Shorter(64));
        assert!(
            serde_json::from_str::<Resize>("\"middle\"").unwrap_err().to_string().contains("found `middle`")
        );
    }

    #[test]
    fn invalid_preparations_are_refused() {
        let with = |resize| Preparation { resize, ..Preparation::center(1.0) };
        for wrong in [
            with(Resize::Shorter(0)),
            with(Resize::Center(0.0)),
            with(Resize::Center(f64::NAN)),
            Preparation { filter: Filter::Nearest, ..Preparation::center(0.5) },
            Preparation { filter: Filter::Lanczos, antialias: false, ..with(Resize::Square) },
        ] {
            assert!(wrong.check().is_err(), "{wrong}");
        }
        assert!(Preparation::torchvision(256).check().is_ok());
    }
}
