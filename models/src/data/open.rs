//! Opening a data set: from its configuration to loaders.

use super::config::{DataConfig, DataName, Scored, Trained};
use super::dataset::{Cached, Dataset};
use super::fashion_mnist;
use super::folder::ImageFolder;
use super::gather::{Gathered, gather};
use super::idx::IdxImages;
use super::layout::listed;
use super::loader::{Loader, LoaderOptions};
use super::summary::Summary;
use super::transform::Transform;
use lopper_engine::info::Preparation;
use lopper_engine::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A data set opened for training.
pub struct Splits {
    /// Training images: shuffled, augmented, only in full batches.
    pub train: Loader,
    /// Images to score, by default the validation images: all of them, in order, not augmented.
    pub val: Loader,
    /// The class names to display.
    pub classes: Vec<String>,
    /// The class folders, by which classes are compared. They differ from the names for Imagenette.
    pub folders: Vec<String>,
    /// The mean subtracted from each channel.
    pub mean: [f32; 3],
    /// The standard deviation by which each channel is divided.
    pub std: [f32; 3],
    /// The way from an image to one of the size to score.
    pub preparation: Preparation,
    /// What was found.
    pub summary: Summary,
}

/// The images to train on and to score, and their description.
struct Sets {
    train: Arc<dyn Dataset>,
    val: Arc<dyn Dataset>,
    folders: Vec<String>,
    scored_as: &'static str,
    ignored: Option<String>,
    notes: Vec<String>,
    /// The errors of training images and of those to score that cannot be decoded, by position.
    undecodable: [BTreeMap<usize, String>; 2],
}

/// Opens the data set of `config` in `data`, a directory or a table, or, if that is `None`, in the configuration's
/// `path`. `seed` determines the order and augmentation of every epoch.
///
/// # Errors
/// [`Error::Invalid`], with the option, if an option is invalid; [`Error::File`], with the path, if a file or folder is
/// missing or invalid.
pub fn open(config: &DataConfig, data: Option<&Path>, seed: u64) -> Result<Splits> {
    // The options first: images may take long to list.
    let transforms = transforms(config)?;
    if config.name.is_idx() {
        config.check_idx()?;
    }
    let data = data.or(config.path.as_deref());
    splits(config, sets(config, data)?, &name(config, data), transforms, seed)
}

/// Loads the images of `train` and `val`, data sets of the caller's own, with the options of `config`: all but those
/// that say where images are.
///
/// # Errors
/// [`Error::Invalid`], with the option, if an option is invalid, or if the two sets differ in classes.
pub fn open_sets(
    config: &DataConfig,
    train: Arc<dyn Dataset>,
    val: Arc<dyn Dataset>,
    seed: u64,
) -> Result<Splits> {
    if train.classes() != val.classes() {
        return Err(Error::invalid(format!(
            "classes: the training images have {}, those to score {}",
            listed(train.classes()),
            listed(val.classes())
        )));
    }
    let folders = val.classes().to_vec();
    let (ignored, notes, undecodable) = (None, Vec::new(), Default::default());
    let sets = Sets { train, val, folders, scored_as: "validation", ignored, notes, undecodable };
    splits(config, sets, "images", transforms(config)?, seed)
}

/// The transforms of training images and of images to score.
fn transforms(config: &DataConfig) -> Result<[Transform; 2]> {
    let plain = config.eval_transform()?;
    let (cut, flip) = config.cut()?;
    Ok([Transform { cut, flip, ..plain.clone() }, plain])
}

fn splits(
    config: &DataConfig,
    sets: Sets,
    name: &str,
    [augmented, plain]: [Transform; 2],
    seed: u64,
) -> Result<Splits> {
    let (mean, std) = config.normalization();
    let classes = sets.val.classes().to_vec();
    let [bad_train, bad_val] = sets.undecodable;
    let mut notes = sets.notes;
    if !config.skip_bad_images {
        notes.extend(named(bad_train.values().chain(bad_val.values())));
    }
    let summary = Summary {
        name: name.to_string(),
        train: sets.train.len() - bad_train.len(),
        scored: sets.val.len() - bad_val.len(),
        scored_as: sets.scored_as.into(),
        classes: classes.len(),
        ignored: sets.ignored,
        undecodable: bad_train.len() + bad_val.len(),
        skips: config.skip_bad_images,
        notes,
    };
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
    Ok(Splits {
        train: loader(sets.train, augmented, true)?.knowing(bad_train),
        val: loader(sets.val, plain, false)?.knowing(bad_val),
        classes,
        folders: sets.folders,
        mean,
        std,
        preparation: config.preparation(),
        summary,
    })
}

/// A remark that names the first of the images that cannot be decoded, from their errors.
fn named<'a>(mut errors: impl Iterator<Item = &'a String>) -> Option<String> {
    const SHOWN: usize = 3;
    let shown: Vec<String> = errors.by_ref().take(SHOWN).map(|error| format!("\n    {error}")).collect();
    let more = match errors.count() {
        0 => String::new(),
        more => format!("\n    and {more} more"),
    };
    (!shown.is_empty())
        .then(|| format!("--skip-bad-images leaves out what cannot be decoded:{}{more}", shown.concat()))
}

/// The name of the data set: that of its directory or table.
fn name(config: &DataConfig, data: Option<&Path>) -> String {
    let absolute = data.and_then(|path| std::path::absolute(path).ok());
    let name = absolute.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| match config.name {
        DataName::FashionMnist => "fashion-mnist".into(),
        _ => "images".into(),
    })
}

fn sets(config: &DataConfig, data: Option<&Path>) -> Result<Sets> {
    let needed = || {
        data.ok_or_else(|| Error::invalid("data: this data set needs a directory (`path` or `--data DIR`)"))
    };
    match config.name {
        DataName::FashionMnist if data.is_some() => {
            Err(Error::invalid("data: fashion-mnist is built in and takes no directory"))
        }
        DataName::FashionMnist => small(config, fashion_mnist::open()?),
        DataName::Idx => {
            let open = |split| IdxImages::open(needed()?, split, fashion_mnist::PADDED);
            small(config, [open("train")?, open("t10k")?])
        }
        DataName::Imagenette | DataName::Folder => {
            let Gathered { train, scored, scored_as, folders, ignored, notes } = gather(config, needed()?)?;
            let undecodable = [train.undecodable(), scored.undecodable()];
            let shared = |set: ImageFolder| match config.cache {
                true => Arc::new(Cached::new(set)) as Arc<dyn Dataset>,
                false => Arc::new(set),
            };
            let (train, val) = (shared(train), shared(scored));
            Ok(Sets { train, val, folders, scored_as, ignored, notes, undecodable })
        }
    }
}

/// The sets of IDX files, which are in memory already, so that caching is not needed.
fn small(config: &DataConfig, sets: [IdxImages; 2]) -> Result<Sets> {
    let (scored, scored_as) = match (config.split, config.train) {
        (Scored::Val | Scored::Test, Trained::Train) => (1, "test"),
        (Scored::Train, Trained::Train) => (0, "training"),
        _ => return Err(Error::invalid("split, train: `all` is only for images in files")),
    };
    let folders = sets[0].classes().to_vec();
    let notes = match &config.classes {
        Some(known) => numbered(&folders, known)?,
        None => Vec::new(),
    };
    let train_limit = config.train_limit.into_iter().chain(config.limit).min();
    let mut limits = [train_limit, config.limit].into_iter();
    let sets = sets.map(|mut set| {
        if let Some(limit) = limits.next().flatten() {
            set.limit(limit);
        }
        Arc::new(set) as Arc<dyn Dataset>
    });
    let [train, val] = [sets[0].clone(), sets[scored].clone()];
    let undecodable = Default::default();
    Ok(Sets { train, val, folders, scored_as, ignored: None, notes, undecodable })
}

/// Checks that the labels of IDX files, which name the classes `found`, are positions among the classes `known`. Returns
/// a remark if they match by their order alone.
fn numbered(found: &[String], known: &[String]) -> Result<Vec<String>> {
    let matched = super::vocabulary::matched(found, known)?;
    match known.len() == found.len() && matched.labels.iter().copied().eq(0..found.len() as u32) {
        true => Ok(matched.note.into_iter().collect()),
        false => Err(Error::invalid(format!(
            "classes: the labels of these files are fixed: expected {}, found {}",
            listed(found),
            listed(known)
        ))),
    }
}
