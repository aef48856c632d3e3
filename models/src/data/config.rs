//! Data set configurations, as given in a recipe or on the command line.

use super::dataset::{Cached, Dataset};
use super::folder::ImageFolder;
use super::idx::IdxImages;
use super::loader::{Loader, LoaderOptions};
use super::transform::{Cut, IMAGENET_MEAN, IMAGENET_STD, Normalize, Transform};
use super::{fashion_mnist, imagenette};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kind of data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataName {
    /// The embedded subset of Fashion-MNIST.
    FashionMnist,
    /// A directory of `train/<class>/*` and `val/<class>/*`, with Imagenette's class names and noisy labels.
    Imagenette,
    /// A directory of `train/<class>/*` and `val/<class>/*`.
    Folder,
    /// A directory with the four IDX files `train-*` and `t10k-*`, as in MNIST.
    Idx,
}

impl DataName {
    /// Whether the data set consists of small gray images in IDX files, rather than image files.
    fn is_idx(self) -> bool {
        matches!(self, Self::FashionMnist | Self::Idx)
    }
}

/// A data set with its loading options: the `[data]` table of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The kind of data set.
    pub name: DataName,
    /// Its directory, used if the caller gives none.
    #[serde(default)]
    pub path: Option<PathBuf>,
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
    /// Side of the centered validation crop, as a fraction of the shorter side; by default 1 for IDX files and 0.875
    /// for folders.
    #[serde(default)]
    pub center_fraction: Option<f64>,
    /// Augmentation of training images.
    #[serde(default)]
    pub augment: Augment,
}

fn default_batch() -> usize {
    64
}

fn default_workers() -> usize {
    2
}

/// Augmentation of training images.
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

/// The way training images are cropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crop {
    /// A random box, resized ([`Cut::Resized`]).
    Resized,
    /// The whole image, padded and randomly cropped back to size ([`Cut::Padded`]).
    Padded,
    /// The center, as in validation ([`Cut::Center`]).
    Center,
}

/// A data set opened for training.
pub struct Splits {
    /// Training images: shuffled, augmented, only in full batches.
    pub train: Loader,
    /// Validation images: all of them, in order, center-cropped.
    pub val: Loader,
    /// The class names.
    pub classes: Vec<String>,
    /// The mean subtracted from each channel.
    pub mean: [f32; 3],
    /// The standard deviation by which each channel is divided.
    pub std: [f32; 3],
}

impl DataConfig {
    /// Creates a configuration of the data set `name` with default options.
    pub fn new(name: DataName) -> Self {
        Self {
            name,
            path: None,
            size: None,
            batch: default_batch(),
            workers: default_workers(),
            label_noise: None,
            limit: None,
            train_list: None,
            val_list: None,
            skip_bad_images: false,
            cache: false,
            mean: None,
            std: None,
            center_fraction: None,
            augment: Augment::default(),
        }
    }

    /// Side length of the square images, in pixels.
    pub fn image_size(&self) -> usize {
        self.size.unwrap_or(if self.name.is_idx() { fashion_mnist::PADDED } else { 128 })
    }

    /// The mean and standard deviation of each channel.
    fn normalization(&self) -> ([f32; 3], [f32; 3]) {
        let (mean, std) = match self.name.is_idx() {
            true => ([fashion_mnist::MEAN; 3], [fashion_mnist::STD; 3]),
            false => (IMAGENET_MEAN, IMAGENET_STD),
        };
        (self.mean.unwrap_or(mean), self.std.unwrap_or(std))
    }

    /// The transform of images that are not trained on: validation images, and those of a prediction.
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
    fn check(&self) -> Result<()> {
        let Augment { scale, ratio, padding, flip, .. } = self.augment;
        let size = self.image_size();
        let fraction = self.center_fraction.unwrap_or(1.0);
        let ordered = |[low, high]: [f64; 2], max: f64| low > 0.0 && low <= high && high <= max;
        let rules = [
            (size > 0 && size <= 4096, format!("size: expected 1 to 4096 pixels, found {size}")),
            (self.workers <= 256, format!("workers: expected at most 256, found {}", self.workers)),
            (self.limit != Some(0), "limit: expected at least 1 image per class, found 0".into()),
            (
                (1e-3..=1.0).contains(&fraction),
                format!("center_fraction: expected [0.001, 1], found {fraction:?}"),
            ),
            (ordered(scale, 1.0), format!("augment.scale: expected 0 < low ≤ high ≤ 1, found {scale:?}")),
            (ordered(ratio, 1e3), format!("augment.ratio: expected 0 < low ≤ high ≤ 1000, found {ratio:?}")),
            (padding <= size, format!("augment.padding: expected at most the size, {size}, found {padding}")),
            ((0.0..=1.0).contains(&flip), format!("augment.flip: expected [0, 1], found {flip}")),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, message)) => Err(Error::invalid(message)),
            None => Ok(()),
        }
    }

    /// Rejects options that only apply to image folders.
    fn check_idx(&self) -> Result<()> {
        let options = [
            ("label_noise", self.label_noise.is_some()),
            ("train_list", self.train_list.is_some()),
            ("val_list", self.val_list.is_some()),
        ];
        match options.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::invalid(format!("{option}: only for a folder of images"))),
            None => Ok(()),
        }
    }

    fn cut(&self) -> Cut {
        match self.augment.crop.unwrap_or(if self.name.is_idx() { Crop::Padded } else { Crop::Resized }) {
            Crop::Resized => Cut::Resized { scale: self.augment.scale, ratio: self.augment.ratio },
            Crop::Padded => Cut::Padded { padding: self.augment.padding },
            Crop::Center => self.center(),
        }
    }

    fn center(&self) -> Cut {
        let default = if self.name.is_idx() { 1.0 } else { 0.875 };
        Cut::Center { fraction: self.center_fraction.unwrap_or(default) }
    }

    /// The training and validation data sets.
    fn datasets(&self, dir: Option<&Path>) -> Result<[Arc<dyn Dataset>; 2]> {
        let needed = || {
            dir.ok_or_else(|| {
                Error::invalid("data: this data set needs a directory (`path` or `--data DIR`)")
            })
        };
        match self.name {
            DataName::FashionMnist if dir.is_some() => {
                Err(Error::invalid("data: fashion-mnist is built in and takes no directory"))
            }
            DataName::FashionMnist => Ok(fashion_mnist::open()?.map(|set| self.small(set))),
            DataName::Idx => {
                let open = |split| IdxImages::open(needed()?, split, fashion_mnist::PADDED);
                Ok([self.small(open("train")?), self.small(open("t10k")?)])
            }
            DataName::Imagenette | DataName::Folder => self.folders(needed()?),
        }
    }

    fn small(&self, mut set: IdxImages) -> Arc<dyn Dataset> {
        if let Some(limit) = self.limit {
            set.limit(limit);
        }
        Arc::new(set) // already in memory, so caching is not needed
    }

    fn folders(&self, dir: &Path) -> Result<[Arc<dyn Dataset>; 2]> {
        let mut sets = ImageFolder::open_splits(dir)?;
        for (set, list) in sets.iter_mut().zip([&self.train_list, &self.val_list]) {
            if let Some(list) = list {
                set.keep_listed(&dir.join(list))?;
            }
            if let Some(limit) = self.limit {
                set.limit(limit);
            }
            if self.name == DataName::Imagenette {
                set.rename_classes(imagenette::class_name);
            }
        }
        if let Some(percent) = self.label_noise {
            let table = dir.join(imagenette::NOISY_LABELS_FILE);
            sets[0].relabel(&imagenette::noisy_labels(&table, percent)?, &table)?;
        }
        Ok(sets.map(
            |set| if self.cache { Arc::new(Cached::new(set)) as Arc<dyn Dataset> } else { Arc::new(set) },
        ))
    }
}

/// Opens the data set of `config` in `data_dir`, or, if that is `None`, in the configuration's `path`. `seed`
/// determines the order and augmentation of every epoch.
///
/// # Errors
/// [`Error::Invalid`], with the option, if an option is invalid; [`Error::File`], with the path, if a file or folder is
/// missing or invalid.
pub fn open(config: &DataConfig, data_dir: Option<&Path>, seed: u64) -> Result<Splits> {
    let plain = config.eval_transform()?;
    if config.name.is_idx() {
        config.check_idx()?;
    }
    let (mean, std) = config.normalization();
    let [train, val] = config.datasets(data_dir.or(config.path.as_deref()))?;
    let classes = train.classes().to_vec();
    let augmented = Transform { cut: config.cut(), flip: config.augment.flip, ..plain.clone() };
    let loader = |data, transform, training| {
        let options = LoaderOptions {
            batch: config.batch,
            shuffle: training,
            drop_last: training,
            workers: config.workers,
            seed,
            skip_bad_images: config.skip_bad_images,
        };
        Loader::new(data, transform, options)
    };
    Ok(Splits { train: loader(train, augmented, true)?, val: loader(val, plain, false)?, classes, mean, std })
}
