//! Gathering the images of a data set of files: which there are, their labels, and what each split gets.

use super::config::{DataConfig, DataName, EmptyClasses, Scored, Trained};
use super::folder::{ImageFolder, Sample};
use super::hints;
use super::imagenette;
use super::layout::{Finding, Listing, Split, find, listed, read_table};
use super::parts;
use super::vocabulary::matched;
use lopper_engine::{Error, Result};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The images of a data set, with labels.
pub struct Gathered {
    /// Images to train on.
    pub train: ImageFolder,
    /// Images to score.
    pub scored: ImageFolder,
    /// What the images to score are: validation, test, training.
    pub scored_as: &'static str,
    /// The class folders, by label.
    pub folders: Vec<String>,
    /// Files and folders that were passed over, in words.
    pub ignored: Option<String>,
    /// Remarks for the user.
    pub notes: Vec<String>,
}

/// Gathers the images of `config` in `data`, a directory or a table.
///
/// # Errors
/// [`Error::File`] if they cannot be found or understood; [`Error::Invalid`] if they do not suit the options.
pub fn gather(config: &DataConfig, data: &Path) -> Result<Gathered> {
    let (root, table) = sources(config, data);
    let mut listing = match &table {
        _ if !config.parts.is_empty() => {
            parts::read(&config.parts, config.classes.as_deref(), &root, config.hidden)?
        }
        Some(table) => read_table(table, &root, &config.columns)?,
        None => find(&root, &Finding { pattern: config.class_pattern.as_ref(), hidden: config.hidden })?,
    };
    empty_classes(config, &root, &mut listing)?;
    let found = listing.classes();
    if found.len() < 2 && config.classes.is_none() && !config.one_class {
        let message = format!(
            "only one class ({}): is this the folder of one class, or of all? --one-class accepts it{}",
            listed(&found),
            hints::named_images(&root, &listing)
        );
        return Err(Error::file(root, message));
    }
    if table.is_none() && config.parts.is_empty() {
        listing.notes.extend(hints::deeper_classes(&root, &found, &listing));
    }
    let known = config.classes.clone().unwrap_or_else(|| found.clone());
    let matched = matched(&found, &known).map_err(|e| Error::file(&root, e))?;
    // Folders that are matched by their order name the numbered classes, and folders name readable classes.
    let mut folders = if matched.note.is_some() { found.clone() } else { known };
    for (folder, &label) in found.iter().zip(&matched.labels) {
        if imagenette::class_name(folder) != folder {
            folders[label as usize].clone_from(folder);
        }
    }
    listing.notes.extend(matched.note);
    let labels: HashMap<&str, u32> =
        found.iter().map(String::as_str).zip(matched.labels.iter().copied()).collect();
    only(config, &folders, &labels, &mut listing)?;
    validation(config, &root, &mut listing)?;
    let of = |split: Split, wanted: &dyn Fn(Split) -> bool| {
        let images = listing.images.iter().filter(|image| image.split.is_some_and(wanted));
        let samples =
            images.map(|image| Sample { path: image.path.clone(), label: labels[image.class.as_str()] });
        ImageFolder::new(&root, split, folders.clone(), samples.collect())
    };
    let scored = scored(config, &root, &listing)?;
    let train = of(Split::Train, &|split| match config.train {
        Trained::Train => split == Split::Train,
        Trained::All => split != Split::Test,
    });
    let (scored_as, scored) = match scored {
        Some(split) => (split.adjective(), of(split, &|of| of == split)),
        None => ("available", of(Split::Val, &|_| true)),
    };
    if config.train == Trained::All && scored_as != Split::Test.adjective() {
        let note = format!("the {scored_as} images are trained on: their accuracy says little about others");
        listing.notes.push(note);
    }
    absent(&mut listing, &folders, [(&train, "training"), (&scored, scored_as)]);
    let Listing { ignored, notes, .. } = listing;
    let mut gathered = Gathered { train, scored, scored_as, folders, ignored: ignored.describe(), notes };
    gathered.choose(config, &root)?;
    Ok(gathered)
}

impl Gathered {
    /// Applies the options that choose or relabel images.
    fn choose(&mut self, config: &DataConfig, root: &Path) -> Result<()> {
        let train_limit = config.train_limit.into_iter().chain(config.limit).min();
        let sets = [
            (&mut self.train, &config.train_list, train_limit),
            (&mut self.scored, &config.val_list, config.limit),
        ];
        for (set, list, limit) in sets {
            set.orient(config.preparation().orient);
            if let Some(list) = list {
                set.keep_listed(&root.join(list))?;
            }
            if let Some(limit) = limit {
                set.limit(limit);
            }
            if config.name == DataName::Imagenette {
                let names = self.folders.iter().map(|folder| imagenette::class_name(folder).to_string());
                set.name_classes(names.collect());
            }
        }
        if let Some(percent) = config.label_noise {
            let table = root.join(imagenette::NOISY_LABELS_FILE);
            self.train.relabel(&imagenette::noisy_labels(&table, percent)?, &table)?;
        }
        Ok(())
    }
}

/// The directory of the images, and the table that lists them, if there is one.
fn sources(config: &DataConfig, data: &Path) -> (PathBuf, Option<PathBuf>) {
    let is_table = data.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv")) && !data.is_dir();
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let root = if is_table { parent } else { data };
    let labels = config.labels.as_ref().map(|labels| {
        let inside = root.join(labels);
        // A command's option is relative to the current directory, as its other paths are.
        if !inside.exists() && labels.exists() { labels.clone() } else { inside }
    });
    (root.to_path_buf(), labels.or_else(|| is_table.then(|| data.to_path_buf())))
}

/// Keeps the images of the classes that `only_classes` names.
fn only(
    config: &DataConfig,
    known: &[String],
    labels: &HashMap<&str, u32>,
    listing: &mut Listing,
) -> Result<()> {
    if config.only_classes.is_empty() {
        return Ok(());
    }
    let chosen = matched(&config.only_classes, known);
    let chosen = chosen.map_err(|e| Error::invalid(format!("only_classes: {e}")))?.labels;
    listing.images.retain(|image| chosen.contains(&labels[image.class.as_str()]));
    let (some, all) = (listed(&config.only_classes), known.len());
    listing.notes.push(format!("only images of {some} are used, {} of {all} classes", chosen.len()));
    Ok(())
}

/// Decides about class folders that have no image in any split.
fn empty_classes(config: &DataConfig, root: &Path, listing: &mut Listing) -> Result<()> {
    let names: Vec<&String> = listing.empty.iter().collect();
    if names.is_empty() {
        return Ok(());
    }
    // A class that a network knows may lack images.
    let known = config.classes.as_ref().is_some_and(|known| names.iter().all(|name| known.contains(name)));
    match config.empty_classes {
        EmptyClasses::Keep => {}
        _ if known => {}
        EmptyClasses::Drop => {
            let note = format!("class folders without images are no classes: {}", listed(&names));
            listing.notes.push(note);
            listing.empty.clear();
        }
        EmptyClasses::Refuse => {
            let what = if names.len() == 1 { "class folder" } else { "class folders" };
            let message = format!(
                "no images in the {what} {}: --empty-classes drop ignores them, keep makes them classes",
                listed(&names)
            );
            return Err(Error::file(root, message));
        }
    }
    Ok(())
}

/// Provides validation images if the data set has none.
fn validation(config: &DataConfig, root: &Path, listing: &mut Listing) -> Result<()> {
    let has = |split| listing.has(split);
    if has(Split::Val) {
        let option = match (config.val_fraction, config.val_track) {
            (None, None) => return Ok(()),
            (Some(_), _) => "val_fraction",
            (None, Some(_)) => "val_track",
        };
        let message = "the data set has validation images of its own, so none are held out";
        return Err(Error::file(root, format!("{option}: {message}")));
    }
    let unsplit = listing.images.iter().all(|image| image.split.is_none());
    let wanted = config.val_fraction.is_some() || config.val_track.is_some();
    if !unsplit && !wanted && (has(Split::Test) || !has(Split::Train)) {
        return Ok(());
    }
    let holdout = config.holdout();
    holdout.apply(listing);
    listing.notes.push(format!("no validation images are set apart: {}", holdout.describe()));
    Ok(())
}

/// The split to score, or `None` for all images.
fn scored(config: &DataConfig, root: &Path, listing: &Listing) -> Result<Option<Split>> {
    let wanted = match config.split {
        Scored::All => return Ok(None),
        Scored::Train => Split::Train,
        Scored::Val if !listing.has(Split::Val) && listing.has(Split::Test) => Split::Test,
        Scored::Val => Split::Val,
        Scored::Test => Split::Test,
    };
    let there: Vec<String> =
        Split::ALL.into_iter().filter(|&split| listing.has(split)).map(|split| split.to_string()).collect();
    // A single image in each class leaves none to hold out: training may still work.
    if !listing.has(wanted) && config.split != Scored::Val {
        let message =
            format!("split: there are no {} images, only {}", wanted.adjective(), there.join(" and "));
        return Err(Error::file(root, message));
    }
    Ok(Some(wanted))
}

/// Adds a remark on classes without an image in a set that has others.
fn absent(listing: &mut Listing, folders: &[String], sets: [(&ImageFolder, &str); 2]) {
    for (set, adjective) in sets {
        let seen: BTreeSet<u32> = set.labels().collect();
        let lacking: Vec<&String> = folders
            .iter()
            .zip(0u32..)
            .filter(|(_, label)| !seen.contains(label))
            .map(|(name, _)| name)
            .collect();
        if !seen.is_empty() && !lacking.is_empty() {
            listing.notes.push(format!("no {adjective} images of {}", listed(&lacking)));
        }
    }
}
