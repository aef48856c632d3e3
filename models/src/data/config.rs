//! Data set configurations, as given in a recipe or on the command line.

use super::augment::{Augmentation, Crop};
use super::fashion_mnist;
use super::layout::{ClassPattern, Columns, Holdout, Part};
use super::normalize::{IMAGENET_MEAN, IMAGENET_STD, Normalize};
use super::steps::Steps;
use super::transform::{Cut, Transform};
use lopper_engine::info::{Filter, Preparation, Resize};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The kind of data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataName {
    /// The embedded subset of Fashion-MNIST.
    FashionMnist,
    /// Images in files, with Imagenette's class names and noisy labels.
    Imagenette,
    /// Images in files: in class folders, with the class in their names, or listed in a table.
    Folder,
    /// A directory with the four IDX files `train-*` and `t10k-*`, as in MNIST.
    Idx,
}

impl DataName {
    /// Whether the data set consists of small gray images in IDX files, rather than image files.
    pub(super) fn is_idx(self) -> bool {
        matches!(self, Self::FashionMnist | Self::Idx)
    }
}

/// The images to score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scored {
    /// Training images.
    Train,
    /// Validation images; test images if there are no others.
    #[default]
    Val,
    /// Test images.
    Test,
    /// All images.
    All,
}

/// The images to train on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trained {
    /// Training images.
    #[default]
    Train,
    /// Training and validation images.
    All,
}

/// The treatment of class folders without images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyClasses {
    /// An error.
    #[default]
    Refuse,
    /// They are no classes.
    Drop,
    /// They are classes without images.
    Keep,
}

/// A data set with its loading options: the `[data]` table of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The kind of data set.
    pub name: DataName,
    /// Its directory, or a table of its images, used if the caller gives none.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// A table (CSV) of image paths and labels, relative to the directory, instead of class folders.
    #[serde(default)]
    pub labels: Option<PathBuf>,
    /// The columns of that table, if their names are unusual.
    #[serde(default)]
    pub columns: Columns,
    /// The folders that the data set consists of, each with its split, instead of folders that are named after splits.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// The pattern of the images' names, if they carry the class, as in `3_17.jpg`: `{class}_*`.
    #[serde(default)]
    pub class_pattern: Option<ClassPattern>,
    /// Share of each class to hold out for validation if the data set has no validation images; by default 0.2.
    #[serde(default)]
    pub val_fraction: Option<f64>,
    /// Number of consecutive images, in the order of their names, that show the same thing, such as the frames of a video.
    /// Whole tracks are then held out: the first of each class.
    #[serde(default)]
    pub val_track: Option<usize>,
    /// Seed of the choice of held-out images.
    #[serde(default)]
    pub split_seed: u64,
    /// The images to score.
    #[serde(default)]
    pub split: Scored,
    /// The images to train on.
    #[serde(default, alias = "train_on")]
    pub train: Trained,
    /// All classes in the order of their labels, if not only those found: names of class folders.
    #[serde(default, alias = "class_folders")]
    pub classes: Option<Vec<String>>,
    /// The classes whose images are used; by default all. The labels stay those of all classes.
    #[serde(default)]
    pub only_classes: Vec<String>,
    /// The treatment of class folders without images.
    #[serde(default)]
    pub empty_classes: EmptyClasses,
    /// Whether a data set of one class is accepted.
    #[serde(default)]
    pub one_class: bool,
    /// Whether to look into hidden folders and at hidden files.
    #[serde(default)]
    pub hidden: bool,
    /// Side length of the square images, in pixels; by default 32 for IDX files and 128 for folders.
    #[serde(default)]
    pub size: Option<usize>,
    /// Images per batch.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Background threads that decode and augment, separately for training and validation; 0 decodes in the foreground.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// Percentage of wrong training labels, which selects the column of Imagenette's `noisy_imagenette.csv`.
    #[serde(default)]
    pub label_noise: Option<u32>,
    /// Maximum number of images of each class, in training and in validation.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Maximum number of training images of each class. All images are scored.
    #[serde(default)]
    pub train_limit: Option<usize>,
    /// A file that lists the training images to keep, one path per line (`train/<class>/<file>`), relative to the
    /// directory.
    #[serde(default)]
    pub train_list: Option<PathBuf>,
    /// The same for validation.
    #[serde(default)]
    pub val_list: Option<PathBuf>,
    /// Whether to skip and count images that cannot be decoded, rather than stop.
    #[serde(default)]
    pub skip_bad_images: bool,
    /// Whether to keep decoded images in memory.
    #[serde(default)]
    pub cache: bool,
    /// Mean of each channel in `[0, 1]`; by default ImageNet's, or Fashion-MNIST's for IDX files.
    #[serde(default)]
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of each channel in `[0, 1]`, with corresponding defaults.
    #[serde(default)]
    pub std: Option<[f32; 3]>,
    /// The size of images to score before their center is cropped: `none`, `square`, or the shorter side in pixels.
    #[serde(default)]
    pub resize: Option<Resize>,
    /// The filter of that resizing; by default `bilinear`.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// Whether that filter averages over all pixels when it reduces; by default it does.
    #[serde(default)]
    pub antialias: Option<bool>,
    /// Instead of `resize`, the side of a centered square as a fraction of the shorter side, which is cropped and then
    /// resized; by default 1 for IDX files and 0.875 for others.
    #[serde(default)]
    pub center_fraction: Option<f64>,
    /// Whether to turn images upright as their EXIF data say; by default not, as in torchvision.
    #[serde(default)]
    pub orient: Option<bool>,
    /// Augmentation of training images.
    #[serde(default)]
    pub augment: Augmentation,
}

/// Share of each class that is held out by default.
const DEFAULT_HOLDOUT: f64 = 0.2;

fn default_batch() -> usize {
    64
}

fn default_workers() -> usize {
    2
}

impl DataConfig {
    /// Creates a configuration of the data set `name` with default options.
    pub fn new(name: DataName) -> Self {
        Self {
            name,
            path: None,
            labels: None,
            columns: Columns::default(),
            parts: Vec::new(),
            class_pattern: None,
            val_fraction: None,
            val_track: None,
            split_seed: 0,
            split: Scored::default(),
            train: Trained::default(),
            classes: None,
            only_classes: Vec::new(),
            empty_classes: EmptyClasses::default(),
            one_class: false,
            hidden: false,
            size: None,
            batch: default_batch(),
            workers: default_workers(),
            label_noise: None,
            limit: None,
            train_limit: None,
            train_list: None,
            val_list: None,
            skip_bad_images: false,
            cache: false,
            mean: None,
            std: None,
            resize: None,
            filter: None,
            antialias: None,
            center_fraction: None,
            orient: None,
            augment: Augmentation::default(),
        }
    }

    /// Side length of the square images, in pixels.
    pub fn image_size(&self) -> usize {
        self.size.unwrap_or(if self.name.is_idx() { fashion_mnist::PADDED } else { 128 })
    }

    /// The mean and standard deviation of each channel.
    pub(super) fn normalization(&self) -> ([f32; 3], [f32; 3]) {
        let (mean, std) = match self.name.is_idx() {
            true => ([fashion_mnist::MEAN; 3], [fashion_mnist::STD; 3]),
            false => (IMAGENET_MEAN, IMAGENET_STD),
        };
        (self.mean.unwrap_or(mean), self.std.unwrap_or(std))
    }

    /// The transform of images to score and to classify.
    ///
    /// # Errors
    /// [`Error::Invalid`], with the option, if an option is invalid.
    pub fn eval_transform(&self) -> Result<Transform> {
        self.check()?;
        let (mean, std) = self.normalization();
        let normalize = Normalize::new(mean, std)?;
        Ok(Transform { size: self.image_size(), cut: self.center(), flip: 0.0, normalize })
    }

    /// Checks the numbers; the error names the invalid option.
    pub(super) fn check(&self) -> Result<()> {
        let size = self.image_size();
        let rules = [
            (size > 0 && size <= 4096, format!("size: expected 1 to 4096 pixels, found {size}")),
            (self.workers <= 256, format!("workers: expected at most 256, found {}", self.workers)),
            (self.limit != Some(0), "limit: expected at least 1 image per class, found 0".into()),
            (self.train_limit != Some(0), "train_limit: expected at least 1 image per class, found 0".into()),
            (
                self.parts.is_empty() || self.labels.is_none() && self.class_pattern.is_none(),
                "parts: each part has its own `labels` or `class_pattern`; expected none beside `parts`"
                    .into(),
            ),
            (
                self.resize.is_none() || self.center_fraction.is_none(),
                "resize: expected either `resize` or `center_fraction`, found both".into(),
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, message)) => Err(Error::invalid(message)),
            None => self.preparation().check().and(self.holdout().check()),
        }
    }

    /// The part of each class to hold out if there are no validation images.
    pub(super) fn holdout(&self) -> Holdout {
        let fraction = self.val_fraction.unwrap_or(DEFAULT_HOLDOUT);
        Holdout { fraction, seed: self.split_seed, track: self.val_track }
    }

    /// Rejects options that only apply to image folders.
    pub(super) fn check_idx(&self) -> Result<()> {
        let options = [
            ("labels", self.labels.is_some()),
            ("class_pattern", self.class_pattern.is_some()),
            ("parts", !self.parts.is_empty()),
            ("val_fraction", self.val_fraction.is_some()),
            ("val_track", self.val_track.is_some()),
            ("only_classes", !self.only_classes.is_empty()),
            ("label_noise", self.label_noise.is_some()),
            ("train_list", self.train_list.is_some()),
            ("val_list", self.val_list.is_some()),
        ];
        match options.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::invalid(format!("{option}: only for a folder of images"))),
            None => Ok(()),
        }
    }

    /// The cut of training images and the probability of a flip after it.
    ///
    /// # Errors
    /// [`Error::Invalid`], with the option, if an option of the augmentation is out of range.
    pub(super) fn cut(&self) -> Result<(Cut, f64)> {
        let size = self.image_size();
        if let Some(steps) = self.augment.steps(size)? {
            return Ok((
                Cut::Steps { steps: Steps::new(steps, size)?, preparation: self.preparation() },
                0.0,
            ));
        }
        let Augmentation::Simple(augment) = self.augment else { unreachable!("others have steps") };
        augment.check(size)?;
        let crop = augment.crop.unwrap_or(if self.name.is_idx() { Crop::Padded } else { Crop::Resized });
        let cut = match crop {
            Crop::Resized => Cut::Resized { scale: augment.scale, ratio: augment.ratio },
            Crop::Padded => Cut::Padded { padding: augment.padding },
            Crop::Center => self.center(),
        };
        Ok((cut, augment.flip))
    }

    pub(super) fn center(&self) -> Cut {
        Cut::Prepared(self.preparation())
    }

    /// The way from an image to one of the size to score.
    pub fn preparation(&self) -> Preparation {
        let fraction = self.center_fraction.unwrap_or(if self.name.is_idx() { 1.0 } else { 0.875 });
        Preparation {
            resize: self.resize.unwrap_or(Resize::Center(fraction)),
            filter: self.filter.unwrap_or_default(),
            antialias: self.antialias.unwrap_or(true),
            orient: self.orient.unwrap_or(false),
        }
    }

    /// Sets the options of preparation that are not given to those of `preparation`, unless another size is given.
    pub fn prepare_like(&mut self, preparation: Option<Preparation>) {
        let Some(Preparation { resize, filter, antialias, orient }) = preparation else { return };
        self.orient = self.orient.or(Some(orient));
        if self.resize.is_none() && self.center_fraction.is_none() {
            self.resize = Some(resize);
            self.filter = self.filter.or(Some(filter));
            self.antialias = self.antialias.or(Some(antialias));
        }
    }
}
