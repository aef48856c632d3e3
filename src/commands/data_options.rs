//! The options of images that the command line and a recipe's `[data]` table share, under the same names.

use super::parsers::{image_side, single};
use clap::{Args, FromArgMatches, ValueEnum};
use lopper_engine::info::{Filter, Resize};
use lopper_engine::{Error, Result};
use lopper_models::data::steps::PRESETS;
use lopper_models::data::{Augmentation, ClassPattern, DataConfig, EmptyClasses, Scored, Trained};
use std::path::PathBuf;

/// Options of the images.
#[derive(Args)]
#[command(next_help_heading = "Images")]
pub struct DataOptions {
    /// Side of the square images in pixels [default: the network's, else 32 built in, 128 from files]
    #[arg(long, value_parser = image_side)]
    size: Option<usize>,
    /// Size of an image before its center is cropped: none, square, or the shorter side in pixels [default: the
    /// network's]
    #[arg(long, conflicts_with = "center_fraction")]
    resize: Option<Resize>,
    /// Filter of that resizing: nearest, bilinear, bicubic or lanczos [default: the network's, or bilinear]
    #[arg(long)]
    filter: Option<Filter>,
    /// Whether the filter averages over all pixels when it reduces [default: the network's, or true]
    #[arg(long, value_name = "BOOL")]
    antialias: Option<bool>,
    /// Instead of --resize, crop a centered square of this share of the shorter side first [default: the network's, else
    /// 1 for IDX files, 0.875 for others]
    #[arg(long, value_name = "SHARE")]
    center_fraction: Option<f64>,
    /// Turn images upright as their EXIF data say
    #[arg(long)]
    orient: bool,
    /// Images per batch [default: the recipe's, or 64]
    #[arg(long)]
    batch: Option<usize>,
    /// Images per class [default: all]
    #[arg(long)]
    limit: Option<usize>,
    /// Training images per class; all images are scored [default: all]
    #[arg(long)]
    train_limit: Option<usize>,
    /// Percentage of wrong labels: selects the column of Imagenette's noisy_imagenette.csv to learn from
    #[arg(long, value_name = "PERCENT")]
    label_noise: Option<u32>,
    /// File that lists the training images to keep, one path a line, relative to the directory
    #[arg(long, value_name = "FILE")]
    train_list: Option<PathBuf>,
    /// The same for validation
    #[arg(long, value_name = "FILE")]
    val_list: Option<PathBuf>,
    /// Background threads that decode and augment, separately for training and scoring [default: 2]
    #[arg(long, value_name = "THREADS")]
    workers: Option<usize>,
    /// Keep decoded images in memory
    #[arg(long)]
    cache: bool,
    /// Mean of red, green and blue in [0, 1] [default: the network's, or ImageNet's]
    #[arg(long, value_name = "R,G,B", value_parser = channels)]
    mean: Option<Channels>,
    /// Standard deviation of red, green and blue in [0, 1] [default: the network's, or ImageNet's]
    #[arg(long, value_name = "R,G,B", value_parser = channels)]
    std: Option<Channels>,
    /// Skip and list images that cannot be decoded instead of stopping
    #[arg(long)]
    skip_bad_images: bool,
    /// Augmentation of training images: none, get_transforms or aug_transforms (fastai's), or a list of steps as in a
    /// recipe, such as '[{random_rotation={degrees=10}}]'
    #[arg(long, value_name = "STEPS", value_parser = augmentation)]
    augment: Option<Augmentation>,
    /// Images to score [default: val, which is test if there are no others]
    #[arg(long, value_enum)]
    split: Option<ScoredName>,
    /// Images to train on: the training images, or the validation images too [default: train]
    #[arg(long, value_enum, value_name = "IMAGES")]
    train_on: Option<TrainedName>,
    /// Share of each class to hold out if there are no validation images [default: 0.2]
    #[arg(long, value_name = "SHARE")]
    val_fraction: Option<f64>,
    /// Consecutive images of a class that show the same thing: whole tracks are held out, the first of each class
    #[arg(long, value_name = "IMAGES")]
    val_track: Option<usize>,
    /// Seed of the choice of held-out images [default: 0]
    #[arg(long, value_name = "SEED")]
    split_seed: Option<u64>,
    /// Pattern of names that carry the class, such as '{class}_*' for 3_17.jpg; # stands for digits
    #[arg(long, value_name = "PATTERN")]
    class_pattern: Option<ClassPattern>,
    /// Table (CSV) of image paths and labels, and splits if it has them
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Columns of the table, such as path=Filename,label=ClassId,split=set [default: common names]
    #[arg(long, value_name = "WHAT=NAME", value_delimiter = ',')]
    columns: Vec<String>,
    /// All class folders in the order of their labels, separated by commas [default: the network's, or those found]
    #[arg(long, value_name = "FOLDERS", value_delimiter = ',')]
    class_folders: Vec<String>,
    /// Classes whose images are used, separated by commas; the labels stay those of all classes [default: all]
    #[arg(long, value_name = "FOLDERS", value_delimiter = ',')]
    only_classes: Vec<String>,
    /// Class folders without images [default: an error]
    #[arg(long, value_enum, value_name = "WHAT")]
    empty_classes: Option<EmptyName>,
    /// Accept images of a single class
    #[arg(long)]
    one_class: bool,
    /// Look into hidden folders and at hidden files
    #[arg(long)]
    hidden: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScoredName {
    /// Training images
    Train,
    /// Validation images
    Val,
    /// Test images
    Test,
    /// All images
    All,
}

#[derive(Clone, Copy, ValueEnum)]
enum TrainedName {
    /// Training images
    Train,
    /// Training and validation images
    All,
}

#[derive(Clone, Copy, ValueEnum)]
enum EmptyName {
    /// They are no classes
    Drop,
    /// They are classes without images
    Keep,
}

impl DataOptions {
    /// The options of images in the command line `command` of another command. None if they cannot be read.
    pub(super) fn among(command: &[String]) -> Option<Self> {
        let parser = Self::augment_args(clap::Command::new("images").no_binary_name(true));
        let mut given: Vec<&String> = Vec::new();
        let mut rest = command.iter();
        while let Some(word) = rest.next() {
            let name = word.strip_prefix("--").map(|word| word.split('=').next().unwrap_or(word));
            let option = parser.get_arguments().find(|option| option.get_long() == name && name.is_some());
            let Some(option) = option else { continue };
            given.push(word);
            if option.get_action().takes_values() && !word.contains('=') {
                given.extend(rest.next());
            }
        }
        let found = parser.try_get_matches_from(given).ok()?;
        Self::from_arg_matches(&found).ok()
    }

    /// Sets in `config` the options that were given.
    pub(super) fn apply(&self, config: &mut DataConfig) -> Result<()> {
        config.size = self.size.or(config.size);
        if self.resize.is_some() || self.center_fraction.is_some() {
            (config.resize, config.center_fraction) = (self.resize, self.center_fraction);
        }
        config.filter = self.filter.or(config.filter);
        config.antialias = self.antialias.or(config.antialias);
        config.orient = self.orient.then_some(true).or(config.orient);
        config.batch = self.batch.unwrap_or(config.batch);
        config.limit = self.limit.or(config.limit);
        config.train_limit = self.train_limit.or(config.train_limit);
        config.label_noise = self.label_noise.or(config.label_noise);
        config.train_list = self.train_list.clone().or(config.train_list.take());
        config.val_list = self.val_list.clone().or(config.val_list.take());
        config.workers = self.workers.unwrap_or(config.workers);
        config.cache |= self.cache;
        config.mean = self.mean.map(|Channels(mean)| mean).or(config.mean);
        config.std = self.std.map(|Channels(std)| std).or(config.std);
        config.skip_bad_images |= self.skip_bad_images;
        if let Some(augment) = &self.augment {
            config.augment.clone_from(augment);
        }
        config.split = self.split.map_or(config.split, |split| match split {
            ScoredName::Train => Scored::Train,
            ScoredName::Val => Scored::Val,
            ScoredName::Test => Scored::Test,
            ScoredName::All => Scored::All,
        });
        config.train = self.train_on.map_or(config.train, |train| match train {
            TrainedName::Train => Trained::Train,
            TrainedName::All => Trained::All,
        });
        config.val_fraction = self.val_fraction.or(config.val_fraction);
        config.val_track = self.val_track.or(config.val_track);
        config.split_seed = self.split_seed.unwrap_or(config.split_seed);
        config.class_pattern = self.class_pattern.clone().or(config.class_pattern.take());
        config.labels = self.labels.clone().or(config.labels.take());
        config.empty_classes = self.empty_classes.map_or(config.empty_classes, |empty| match empty {
            EmptyName::Drop => EmptyClasses::Drop,
            EmptyName::Keep => EmptyClasses::Keep,
        });
        config.one_class |= self.one_class;
        config.hidden |= self.hidden;
        if !self.class_folders.is_empty() {
            config.classes = Some(self.class_folders.clone());
        }
        if !self.only_classes.is_empty() {
            config.only_classes.clone_from(&self.only_classes);
        }
        self.columns.iter().try_for_each(|column| name_column(config, column))
    }
}

/// Reads an augmentation: a name, or the value of a recipe's `augment`.
fn augmentation(text: &str) -> Result<Augmentation, String> {
    #[derive(serde::Deserialize)]
    struct Table {
        augment: Augmentation,
    }
    if text.starts_with(['[', '{']) {
        let table = toml::from_str::<Table>(&format!("augment = {text}"));
        return table.map(|table| table.augment).map_err(|e| e.message().to_string());
    }
    match PRESETS.contains(&text) {
        true => Ok(Augmentation::Preset(text.to_string())),
        false => Err(format!("expected {} or a list of steps", PRESETS.join(", "))),
    }
}

/// A number for each of red, green and blue.
#[derive(Clone, Copy)]
struct Channels([f32; 3]);

/// Reads three numbers separated by commas.
fn channels(text: &str) -> Result<Channels, String> {
    let numbers =
        text.split(',').map(|number| single(number.trim())).collect::<Result<Vec<f32>, String>>()?;
    numbers
        .try_into()
        .map(Channels)
        .map_err(|found: Vec<f32>| format!("expected 3 numbers, found {}", found.len()))
}

/// Sets a column from `what=name`.
fn name_column(config: &mut DataConfig, text: &str) -> Result<()> {
    let columns = &mut config.columns;
    let column = match text.split_once('=') {
        Some(("path", name)) => (&mut columns.path, name),
        Some(("label", name)) => (&mut columns.label, name),
        Some(("split", name)) => (&mut columns.split, name),
        _ => {
            let expected = "path=NAME, label=NAME or split=NAME";
            return Err(Error::invalid(format!("--columns: expected {expected}, found `{text}`")));
        }
    };
    *column.0 = Some(column.1.to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_among_others() {
        let among = |command: &str| {
            let words: Vec<String> = command.split(' ').map(str::to_string).collect();
            DataOptions::among(&words)
        };
        let found = among("lopper run r.toml --data d --limit 5 --out --size=64 --force --orient").unwrap();
        assert_eq!((found.limit, found.size, found.orient), (Some(5), Some(64), true));
        assert!(among("lopper demo --quick").unwrap().limit.is_none());
        assert!(among("lopper run r.toml --limit many").is_none());
    }
}
