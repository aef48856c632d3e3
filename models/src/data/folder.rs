//! Images in one folder per class: `train/<class>/*` and `val/<class>/*`.

use super::Dataset;
use super::decode::decode_file;
use image::RgbImage;
use lopper_engine::{Error, Result, input};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// File extensions of images, in lower case. Other files are ignored.
const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "pnm", "ppm", "pgm"];

/// The images of one split, decoded on demand.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    root: PathBuf,
    split: String,
    /// The sorted class folders. A folder's position is its label.
    folders: Vec<String>,
    classes: Vec<String>,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    /// Path relative to the root, with `/` as separator: `train/n01440764/x.JPEG`.
    path: String,
    label: u32,
}

impl ImageFolder {
    /// Opens the images in `root/split/<class>/`. Classes and images are sorted by name.
    ///
    /// # Errors
    /// [`Error::File`], with the folder, if a folder is missing or unreadable, or has no classes or no images.
    pub fn open(root: &Path, split: &str) -> Result<Self> {
        let dir = root.join(split);
        let folders = sorted_names(&dir, |entry| entry.path().is_dir())?;
        if folders.is_empty() {
            return Err(Error::file(dir, "no class folders in this folder"));
        }
        let mut samples = Vec::new();
        for (label, folder) in folders.iter().enumerate() {
            let class_dir = dir.join(folder);
            let files = sorted_names(&class_dir, |entry| is_picture(&entry.path()))?;
            if files.is_empty() {
                return Err(Error::file(class_dir, "no images in this class folder"));
            }
            let path = |file: String| format!("{split}/{folder}/{file}");
            samples.extend(files.into_iter().map(|file| Sample { path: path(file), label: label as u32 }));
        }
        Ok(Self { root: root.into(), split: split.into(), classes: folders.clone(), folders, samples })
    }

    /// Opens the splits `train` and `val` of `root`.
    ///
    /// # Errors
    /// The errors of [`ImageFolder::open`]; [`Error::File`] if the two splits have different classes.
    pub fn open_splits(root: &Path) -> Result<[Self; 2]> {
        let [train, val] = [Self::open(root, "train")?, Self::open(root, "val")?];
        for (has, lacks) in [(&train, &val), (&val, &train)] {
            if let Some(class) = has.folders.iter().find(|class| !lacks.folders.contains(class)) {
                let message = format!("class `{class}` is in {} but not in {}", has.split, lacks.split);
                return Err(Error::file(root, message));
            }
        }
        Ok([train, val])
    }

    /// Sets the displayed name of each class folder `f` to `name(f)`.
    pub fn rename_classes(&mut self, name: impl Fn(&str) -> &str) {
        self.classes = self.folders.iter().map(|folder| name(folder).to_string()).collect();
    }

    /// Keeps only the images listed in the file `list`, one path relative to the root per line.
    ///
    /// # Errors
    /// [`Error::File`] if the list cannot be read, is empty, or names an image that is not in this split.
    pub fn keep_listed(&mut self, list: &Path) -> Result<()> {
        let text = input::read_to_string(list)?;
        let known: HashSet<&str> = self.samples.iter().map(|s| s.path.as_str()).collect();
        let mut listed = HashSet::new();
        for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
            if !known.contains(line) {
                let message =
                    format!("line {}: `{line}` is not an image in {}", number + 1, self.dir().display());
                return Err(Error::file(list, message));
            }
            listed.insert(line);
        }
        if listed.is_empty() {
            return Err(Error::file(list, "the list is empty"));
        }
        self.samples.retain(|s| listed.contains(s.path.as_str()));
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

    /// Relabels each image with the class folder that `labels` gives for its path. Errors name `table` as the source.
    ///
    /// # Errors
    /// [`Error::File`] if an image has no label or a label is not a class folder.
    pub fn relabel(&mut self, labels: &HashMap<String, String>, table: &Path) -> Result<()> {
        let by_folder: HashMap<&str, u32> = self.folders.iter().map(String::as_str).zip(0..).collect();
        for sample in &mut self.samples {
            let label = labels
                .get(&sample.path)
                .ok_or_else(|| Error::file(table, format!("no label for `{}`", sample.path)))?;
            sample.label = *by_folder.get(label.as_str()).ok_or_else(|| {
                Error::file(table, format!("the label `{label}` of `{}` is not a class folder", sample.path))
            })?;
        }
        Ok(())
    }

    fn dir(&self) -> PathBuf {
        self.root.join(&self.split)
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
        self.samples[index].path.clone()
    }

    fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
        decode_file(&self.root.join(&self.samples[index].path)).map(Cow::Owned)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        feed(self.classes.join("\n").as_bytes());
        for Sample { path, label } in &self.samples {
            // The content is not read, as that would take as long as an epoch.
            let bytes = std::fs::metadata(self.root.join(path)).map_or(0, |file| file.len());
            feed(format!("\n{path}\t{label}\t{bytes}").as_bytes());
        }
    }
}

/// The sorted names in `dir` that `keep` accepts, without hidden files and names that are not Unicode.
fn sorted_names(dir: &Path, keep: impl Fn(&std::fs::DirEntry) -> bool) -> Result<Vec<String>> {
    let failed = |e: std::io::Error| Error::file(dir, e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match entry.file_name().into_string() {
            Ok(name) if !name.starts_with('.') && keep(&entry) => names.push(name),
            _ => {}
        }
    }
    names.sort();
    Ok(names)
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}
