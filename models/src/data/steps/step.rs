//! The steps and their options. Names, defaults and meanings are torchvision's unless noted.

use crate::data::pixels::Padding;
use lopper_engine::info::Filter;
use serde::{Deserialize, Serialize};

/// A step of an augmentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Resizing to a fixed size.
    #[serde(alias = "Resize")]
    Resize(ResizeStep),
    /// The center; a side that is too short is padded with black.
    #[serde(alias = "CenterCrop")]
    CenterCrop(CenterCrop),
    /// A part at a random position.
    #[serde(alias = "RandomCrop")]
    RandomCrop(RandomCrop),
    /// A random box, resized (Szegedy et al. 2015, arXiv:1409.4842).
    #[serde(alias = "RandomResizedCrop")]
    RandomResizedCrop(RandomResizedCrop),
    /// Left and right swapped.
    #[serde(alias = "RandomHorizontalFlip")]
    RandomHorizontalFlip(RandomFlip),
    /// Up and down swapped.
    #[serde(alias = "RandomVerticalFlip")]
    RandomVerticalFlip(RandomFlip),
    /// A rotation about the center.
    #[serde(alias = "RandomRotation")]
    RandomRotation(RandomRotation),
    /// A rotation, shift, scale and shear.
    #[serde(alias = "RandomAffine")]
    RandomAffine(RandomAffine),
    /// A perspective that moves the corners inward.
    #[serde(alias = "RandomPerspective")]
    RandomPerspective(RandomPerspective),
    /// A scale about the center, with the surroundings mirrored. Not in torchvision.
    RandomZoom(RandomZoom),
    /// Brightness, contrast, saturation and hue in random order.
    #[serde(alias = "ColorJitter")]
    ColorJitter(ColorJitter),
    /// A box set to one value, after normalization (Zhong et al. 2017, arXiv:1708.04896).
    #[serde(alias = "RandomErasing")]
    RandomErasing(RandomErasing),
    /// fastai's flips, rotation, zoom, warp and lighting, interpolated once. Not in torchvision.
    Fastai(Fastai),
    /// Means of two images of a batch. Of several steps that mix, one is chosen for each batch.
    #[serde(alias = "MixUp")]
    Mixup(Mix),
    /// A box of one image in another.
    #[serde(alias = "CutMix")]
    Cutmix(Mix),
}

/// A height and width, or one number for both, or for the shorter side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Side {
    /// One number of pixels.
    One(usize),
    /// Height and width.
    Both([usize; 2]),
}

/// A range of random numbers: its ends, or a half-width about a middle that depends on the option.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Range {
    /// A half-width.
    Half(f64),
    /// Both ends.
    Ends([f64; 2]),
}

/// Options of [`Step::Resize`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResizeStep {
    /// The shorter side, or height and width; by default the square of the data set's size.
    pub size: Option<Side>,
    /// The filter.
    pub filter: Filter,
    /// Whether the filter averages over all pixels when it reduces.
    pub antialias: bool,
}

impl Default for ResizeStep {
    fn default() -> Self {
        Self { size: None, filter: Filter::Bilinear, antialias: true }
    }
}

/// Options of [`Step::CenterCrop`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CenterCrop {
    /// Height and width; by default the data set's size.
    pub size: Option<Side>,
}

/// Options of [`Step::RandomCrop`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomCrop {
    /// Height and width; by default the data set's size.
    pub size: Option<Side>,
    /// Pixels added on every side.
    pub padding: usize,
    /// Whether to pad an image that is too small. Without it, such an image is padded on the right and below.
    pub pad_if_needed: bool,
    /// Color of a constant padding.
    pub fill: [u8; 3],
    /// The pixels of the padding.
    pub padding_mode: Padding,
}

/// Options of [`Step::RandomResizedCrop`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Height and width; by default the data set's size.
    pub size: Option<Side>,
    /// Minimum and maximum area, as fractions of the image's.
    pub scale: [f64; 2],
    /// Minimum and maximum ratio of width to height.
    pub ratio: [f64; 2],
    /// The filter.
    pub filter: Filter,
    /// Whether the filter averages over all pixels when it reduces.
    pub antialias: bool,
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        let (scale, ratio) = ([0.08, 1.0], [0.75, 4.0 / 3.0]);
        Self { size: None, scale, ratio, filter: Filter::Bilinear, antialias: true }
    }
}

/// Options of flips.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomFlip {
    /// Probability.
    pub p: f64,
}

impl Default for RandomFlip {
    fn default() -> Self {
        Self { p: 0.5 }
    }
}

/// Options of [`Step::RandomRotation`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomRotation {
    /// Range of the angle in degrees, counterclockwise, about 0.
    pub degrees: Range,
    /// `nearest` or `bilinear`.
    #[serde(default = "nearest")]
    pub filter: Filter,
    /// Color of the corners with a constant padding.
    #[serde(default)]
    pub fill: [u8; 3],
    /// The pixels of the corners. Not in torchvision.
    #[serde(default)]
    pub padding_mode: Padding,
}

/// Options of [`Step::RandomAffine`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomAffine {
    /// Range of the angle in degrees, clockwise, about 0.
    pub degrees: Range,
    /// Largest shifts, as fractions of width and height.
    #[serde(default)]
    pub translate: [f64; 2],
    /// Minimum and maximum scale.
    #[serde(default = "unchanged")]
    pub scale: [f64; 2],
    /// Range of the horizontal shear in degrees.
    #[serde(default = "none")]
    pub shear: Range,
    /// Range of the vertical shear in degrees.
    #[serde(default = "none")]
    pub shear_y: Range,
    /// `nearest` or `bilinear`.
    #[serde(default = "nearest")]
    pub filter: Filter,
    /// Color outside the image with a constant padding.
    #[serde(default)]
    pub fill: [u8; 3],
    /// The pixels outside the image. Not in torchvision.
    #[serde(default)]
    pub padding_mode: Padding,
}

fn nearest() -> Filter {
    Filter::Nearest
}

fn unchanged() -> [f64; 2] {
    [1.0; 2]
}

fn none() -> Range {
    Range::Half(0.0)
}

/// Options of [`Step::RandomPerspective`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomPerspective {
    /// Largest movement of a corner, as a fraction of half a side.
    pub distortion_scale: f64,
    /// Probability.
    pub p: f64,
    /// `nearest` or `bilinear`.
    pub filter: Filter,
    /// Color outside the image with a constant padding.
    pub fill: [u8; 3],
    /// The pixels outside the image. Not in torchvision.
    pub padding_mode: Padding,
}

impl Default for RandomPerspective {
    fn default() -> Self {
        let (fill, padding_mode) = ([0; 3], Padding::Constant);
        Self { distortion_scale: 0.5, p: 0.5, filter: Filter::Bilinear, fill, padding_mode }
    }
}

/// Options of [`Step::RandomZoom`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomZoom {
    /// Minimum and maximum scale; above 1, objects grow.
    pub scale: [f64; 2],
    /// Probability.
    pub p: f64,
}

impl Default for RandomZoom {
    fn default() -> Self {
        Self { scale: [1.0, 1.1], p: 1.0 }
    }
}

/// Options of [`Step::ColorJitter`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Range of the factor of brightness, about 1.
    pub brightness: Range,
    /// Range of the factor of contrast, about 1.
    pub contrast: Range,
    /// Range of the factor of saturation, about 1.
    pub saturation: Range,
    /// Range of the turn of the color circle, about 0, in −½..=½ turns.
    pub hue: Range,
}

impl Default for ColorJitter {
    fn default() -> Self {
        let none = none();
        Self { brightness: none, contrast: none, saturation: none, hue: none }
    }
}

/// Options of [`Step::RandomErasing`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomErasing {
    /// Probability.
    pub p: f64,
    /// Minimum and maximum area, as fractions of the image's.
    pub scale: [f64; 2],
    /// Minimum and maximum ratio of height to width.
    pub ratio: [f64; 2],
    /// The value, after normalization.
    pub value: f32,
}

impl Default for RandomErasing {
    fn default() -> Self {
        Self { p: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3], value: 0.0 }
    }
}

/// Options of [`Step::Mixup`] and [`Step::Cutmix`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mix {
    /// Both parameters of the beta distribution of the share.
    pub alpha: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Self { alpha: 1.0 }
    }
}

/// Options of [`Step::Fastai`], with the names of fastai's `aug_transforms`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fastai {
    /// Version of fastai, 1 or 2: the order of the maps, the movements of corners, and how often flips happen.
    pub version: u8,
    /// Whether to flip with probability ½.
    pub do_flip: bool,
    /// Whether to flip upside down and to turn by quarters, too: each symmetry of a square is as likely in version 1;
    /// version 2 leaves half of the images as they are.
    pub flip_vert: bool,
    /// Largest angle in degrees.
    pub max_rotate: f64,
    /// Smallest scale.
    pub min_zoom: f64,
    /// Largest scale.
    pub max_zoom: f64,
    /// Strength of the change of brightness and contrast.
    pub max_lighting: f64,
    /// Largest movement of a corner, in half sides.
    pub max_warp: f64,
    /// Probability of a rotation, of a zoom and of a warp, in version 2 of its two directions.
    pub p_affine: f64,
    /// Probability of a change of brightness and of contrast.
    pub p_lighting: f64,
    /// The pixels outside the image.
    pub padding_mode: Padding,
}

impl Default for Fastai {
    fn default() -> Self {
        Self {
            version: 2,
            do_flip: true,
            flip_vert: false,
            max_rotate: 10.0,
            min_zoom: 1.0,
            max_zoom: 1.1,
            max_lighting: 0.2,
            max_warp: 0.2,
            p_affine: 0.75,
            p_lighting: 0.75,
            padding_mode: Padding::Reflect,
        }
    }
}
