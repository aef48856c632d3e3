//! Recognizing how the files of a directory are arranged.

use super::listing::{Found, Ignored, Listing, counted, listed};
use super::pattern::ClassPattern;
use super::split::Split;
use super::tree::Tree;
use lopper_engine::{Error, Result};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// How to look for images.
pub struct Finding<'a> {
    /// The pattern of the names, if they carry the class.
    pub pattern: Option<&'a ClassPattern>,
    /// Whether to look into hidden folders.
    pub hidden: bool,
}

/// The arrangements that are understood, for error messages.
const LAYOUTS: &str =
    "  train/CLASS/*.jpg and val/CLASS/*.jpg    (val, valid, validation, test or testing, in any case)
  CLASS/*.jpg                              (a part of each class is held out: --val-fraction)
  CLASS_17.jpg, train/CLASS_17.jpg         (the name carries the class: --class-pattern '{class}_*')
  labels.csv with paths and labels         (--labels labels.csv, or --data labels.csv)
  train-images-idx3-ubyte and so on        (MNIST's four files)";

/// Finds the images below `root`.
///
/// # Errors
/// [`Error::File`], with the folder, if it cannot be read or its arrangement is not understood; the message then
/// lists the arrangements and what was found instead.
pub fn find(root: &Path, finding: &Finding) -> Result<Listing> {
    if !root.is_dir() {
        let found = if root.exists() { "a file" } else { "nothing" };
        return Err(Error::file(root, format!("expected a directory of images, found {found} of this name")));
    }
    let mut ignored = Ignored::default();
    let tree = Tree::read(root, finding.hidden, &mut ignored)?;
    let mut found = Listing { ignored, ..Listing::default() };
    let arrange = Arrange { root, finding, found: &mut found };
    arrange.root(&tree)?;
    Ok(found)
}

struct Arrange<'a> {
    root: &'a Path,
    finding: &'a Finding<'a>,
    found: &'a mut Listing,
}

impl Arrange<'_> {
    fn root(mut self, tree: &Tree) -> Result<()> {
        let splits = self.splits(tree)?;
        if splits.is_empty() {
            self.classes(None, Path::new(""), tree)?;
        } else {
            self.others(tree, &splits);
            for (split, name, folder) in splits {
                self.classes(Some(split), Path::new(name), folder)?;
            }
        }
        match self.found.images.is_empty() {
            true => Err(self.not_understood(tree)),
            false => Ok(()),
        }
    }

    /// The folders of `tree` that are splits. A folder with the name of a split may also be a class, for instance
    /// `train` next to `bus`: it is a split only if it contains class folders, or names carry the class.
    fn splits<'t>(&self, tree: &'t Tree) -> Result<Vec<(Split, &'t OsStr, &'t Tree)>> {
        let mut splits: Vec<(Split, &OsStr, &Tree)> = Vec::new();
        for (name, folder) in &tree.folders {
            let Some(split) = name.to_str().and_then(Split::of_name) else { continue };
            let has_classes = folder.folders.iter().any(|(_, class)| !class.is_empty());
            if !has_classes && self.finding.pattern.is_none() {
                continue;
            }
            if let Some((_, other, _)) = splits.iter().find(|(known, ..)| *known == split) {
                let (other, name) = (other.display(), name.display());
                let message =
                    format!("`{other}` and `{name}` are both folders of {} images", split.adjective());
                return Err(Error::file(self.root, message));
            }
            splits.push((split, name.as_os_str(), folder));
        }
        splits.sort_by_key(|(split, ..)| *split);
        Ok(splits)
    }

    /// Counts the images beside the folders of splits, which belong to none.
    fn others(&mut self, tree: &Tree, splits: &[(Split, &OsStr, &Tree)]) {
        let beside = tree.folders.iter().filter(|(name, _)| splits.iter().all(|(_, split, _)| split != name));
        let loose = &mut self.found.ignored;
        tree.images.iter().for_each(|name| loose.loose(name.into()));
        beside.for_each(|(name, folder)| folder.each_image(Path::new(name), &mut |path| loose.loose(path)));
    }

    /// Adds the images of a split, in the folder `at`, to its classes.
    fn classes(&mut self, split: Option<Split>, at: &Path, tree: &Tree) -> Result<()> {
        if let Some(pattern) = self.finding.pattern {
            return self.named(pattern, split, at, tree);
        }
        for (name, folder) in &tree.folders {
            let class = name.to_string_lossy().into_owned();
            // Only names that are not Unicode can be the same as text.
            let is_twin = |other: &OsStr| other != name && other.to_string_lossy() == class;
            let mut others = tree.folders.iter().filter(|_| name.to_str().is_none());
            let twin = others.find(|(other, _)| is_twin(other));
            if let Some((twin, _)) = twin {
                let message = format!("the class folders {name:?} and {twin:?} have the same name as text");
                return Err(Error::file(self.root.join(at), message));
            }
            if folder.is_empty() {
                self.found.empty.insert(class);
                continue;
            }
            let images = &mut self.found.images;
            folder.each_image(&at.join(name), &mut |path| {
                images.push(Found { split, class: class.clone(), path })
            });
        }
        tree.images.iter().for_each(|name| self.found.ignored.loose(at.join(name)));
        let known: std::collections::BTreeSet<&String> = self.found.images.iter().map(|i| &i.class).collect();
        self.found.empty.retain(|class| !known.contains(class));
        Ok(())
    }

    /// Adds the images of a split, whose names carry the class.
    fn named(&mut self, pattern: &ClassPattern, split: Option<Split>, at: &Path, tree: &Tree) -> Result<()> {
        let (mut others, mut count) = (Vec::new(), 0);
        let images = &mut self.found.images;
        tree.each_image(at, &mut |path: PathBuf| {
            count += 1;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match pattern.class(&stem) {
                Some(class) => images.push(Found { split, class: class.to_string(), path }),
                None => others.push(path),
            }
        });
        match others.first() {
            None => Ok(()),
            Some(path) => {
                let (others, count) = (others.len(), counted(count, "image name"));
                let message = format!(
                    "{others} of {count} do not match the pattern `{pattern}`, for instance {}",
                    path.display()
                );
                Err(Error::file(self.root.join(at), message))
            }
        }
    }

    /// The error for a directory without an image in a class.
    fn not_understood(&self, tree: &Tree) -> Error {
        let mut here = Vec::new();
        if !tree.folders.is_empty() {
            let names: Vec<_> = tree.folders.iter().map(|(name, _)| name.to_string_lossy()).collect();
            here.push(format!("{} ({})", counted(names.len(), "folder"), listed(&names)));
        }
        let mut images = Vec::new();
        tree.each_image(Path::new(""), &mut |path| images.push(path));
        if let Some(example) = images.first() {
            here.push(format!(
                "{} outside class folders ({})",
                counted(images.len(), "image"),
                example.display()
            ));
        }
        let tables: Vec<_> = tree.tables.iter().map(|name| name.to_string_lossy()).collect();
        if !tables.is_empty() {
            here.push(format!("{} ({})", counted(tables.len(), "table"), listed(&tables)));
        }
        let mut ignored = self.found.ignored.clone();
        ignored.loose = None;
        if here.is_empty() {
            here.push("nothing".into());
        }
        here.extend(ignored.describe());
        let here = here.join("; ");
        Error::file(
            self.root,
            format!("no images in class folders here; found {here}. What is understood:\n{LAYOUTS}"),
        )
    }
}
