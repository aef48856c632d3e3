//! Images in files, decoded on demand.

use super::Dataset;
use super::decode::{decode_file, decode_upright};
use super::glance::undecodable;
use super::layout::Split;
use image::RgbImage;
use lopper_engine::{Error, Result, input};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// The images of one split, decoded on demand.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    root: PathBuf,
    split: Split,
    /// The class folders, by label.
    folders: Vec<String>,
    classes: Vec<String>,
    samples: Vec<Sample>,
    /// Whether images are turned upright.
    orient: bool,
}

/// An image file and its label.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Path relative to the root.
    pub path: PathBuf,
    /// Position of its class.
    pub label: u32,
}

impl Sample {
    /// The path with `/` as separator: `train/n01440764/x.JPEG`.
    fn name(&self) -> String {
        let parts: Vec<_> = self.path.iter().map(|part| part.to_string_lossy()).collect();
        parts.join("/")
    }
}

impl ImageFolder {
    /// Creates the split of `samples` below `root`. `folders` are the class folders by label.
    ///
    /// # Panics
    /// Panics if a label is not a position in `folders`.
    pub fn new(root: &Path, split: Split, folders: Vec<String>, samples: Vec<Sample>) -> Self {
        assert!(samples.iter().all(|sample| (sample.label as usize) < folders.len()), "labels are positions");
        Self { root: root.into(), split, classes: folders.clone(), folders, samples, orient: false }
    }

    /// Turns images upright as their EXIF data say, if `orient` is set.
    pub fn orient(&mut self, orient: bool) {
        self.orient = orient;
    }

    /// Sets the displayed names of the classes.
    ///
    /// # Panics
    /// Panics if there are fewer or more than class folders.
    pub fn name_classes(&mut self, names: Vec<String>) {
        assert_eq!(names.len(), self.folders.len(), "a name for each class folder");
        self.classes = names;
    }

    /// The labels of all images.
    pub fn labels(&self) -> impl Iterator<Item = u32> {
        self.samples.iter().map(|sample| sample.label)
    }

    /// Keeps only the images listed in the file `list`, one path relative to the root per line.
    ///
    /// # Errors
    /// [`Error::File`] if the list cannot be read, is empty, or names an image that is not in this split.
    pub fn keep_listed(&mut self, list: &Path) -> Result<()> {
        let text = input::read_to_string(list)?;
        let names: Vec<String> = self.samples.iter().map(Sample::name).collect();
        let known: HashSet<&str> = names.iter().map(String::as_str).collect();
        let mut listed = HashSet::new();
        for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
            if !known.contains(line) {
                let (split, root) = (self.split.adjective(), self.root.display());
                let message =
                    format!("line {}: `{line}` is not an image in the {split} images of {root}", number + 1);
                return Err(Error::file(list, message));
            }
            listed.insert(line);
        }
        if listed.is_empty() {
            return Err(Error::file(list, "the list is empty"));
        }
        let mut names = names.iter();
        self.samples.retain(|_| names.next().is_some_and(|name| listed.contains(name.as_str())));
        Ok(())
    }

    /// Keeps the first `limit` images of each class, by name.
    pub fn limit(&mut self, limit: usize) {
        let mut seen = vec![0; self.folders.len()];
        self.samples.retain(|sample| {
            let seen = &mut seen[sample.label as usize];
            *seen += 1;
            *seen <= limit
        });
    }

    /// The errors of the images that cannot be decoded, by position, as far as the ends of their files show it.
    pub fn undecodable(&self) -> BTreeMap<usize, String> {
        let paths: Vec<PathBuf> = self.samples.iter().map(|sample| self.root.join(&sample.path)).collect();
        undecodable(&paths)
    }

    /// Relabels each image with the class folder that `labels` gives for its path. Errors name `table` as the source.
    ///
    /// # Errors
    /// [`Error::File`] if an image has no label or a label is not a class folder.
    pub fn relabel(&mut self, labels: &HashMap<String, String>, table: &Path) -> Result<()> {
        let by_folder: HashMap<&str, u32> = self.folders.iter().map(String::as_str).zip(0..).collect();
        for sample in &mut self.samples {
            let name = sample.name();
            let label =
                labels.get(&name).ok_or_else(|| Error::file(table, format!("no label for `{name}`")))?;
            sample.label = *by_folder.get(label.as_str()).ok_or_else(|| {
                Error::file(table, format!("the label `{label}` of `{name}` is not a class folder"))
            })?;
        }
        Ok(())
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> u32 {
        self.samples[index].label
    }

    fn name(&self, index: usize) -> String {
        self.samples[index].name()
    }

    fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
        let path = self.root.join(&self.samples[index].path);
        if self.orient { decode_upright(&path) } else { decode_file(&path) }.map(Cow::Owned)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        feed(self.classes.join("\n").as_bytes());
        for Sample { path, label } in &self.samples {
            // The content is not read, as that would take as long as an epoch.
            let bytes = std::fs::metadata(self.root.join(path)).map_or(0, |file| file.len());
            feed(b"\n");
            feed(path.as_os_str().as_encoded_bytes());
            feed(format!("\t{label}\t{bytes}").as_bytes());
        }
    }
}
