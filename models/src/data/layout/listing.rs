//! The images that were found, and everything that was passed over.

use super::Split;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The images of a data set.
#[derive(Debug, Default)]
pub struct Listing {
    /// Images in the order in which they were found.
    pub images: Vec<Found>,
    /// Class folders without an image in any split.
    pub empty: BTreeSet<String>,
    /// Files and folders that were passed over.
    pub ignored: Ignored,
    /// Remarks for the user, such as a split that another one stands in for.
    pub notes: Vec<String>,
}

/// An image file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its split; `None` if the data set has no splits.
    pub split: Option<Split>,
    /// The name of its class folder.
    pub class: String,
    /// Its path relative to the data set's directory.
    pub path: PathBuf,
}

impl Listing {
    /// Returns whether an image belongs to `split`.
    pub fn has(&self, split: Split) -> bool {
        self.images.iter().any(|image| image.split == Some(split))
    }

    /// Returns the names of all classes in the order of their labels: by number if all names are numbers, else as
    /// text.
    pub fn classes(&self) -> Vec<String> {
        let names: BTreeSet<&String> =
            self.images.iter().map(|image| &image.class).chain(&self.empty).collect();
        let mut names: Vec<String> = names.into_iter().cloned().collect();
        let numbers: Option<Vec<u64>> = names.iter().map(|name| number(name)).collect();
        if numbers.is_some() {
            names.sort_by_key(|name| (number(name), name.clone()));
        }
        names
    }
}

/// Returns the number that `name` spells in decimal digits.
pub fn number(name: &str) -> Option<u64> {
    let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| name.parse().ok()).flatten()
}

/// Counts of files that were passed over, and names of folders that were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Number of files by extension, with the dot, in lower case; empty for files without one.
    pub files: BTreeMap<String, usize>,
    /// Number of hidden files.
    pub hidden_files: usize,
    /// Names of hidden folders and of `__MACOSX`.
    pub hidden_folders: BTreeSet<String>,
    /// Images outside the class folders, and an example.
    pub loose: Option<(usize, PathBuf)>,
}

impl Ignored {
    /// Counts a file that is not an image.
    pub fn file(&mut self, path: &Path) {
        let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy().to_lowercase()));
        *self.files.entry(extension.unwrap_or_default()).or_default() += 1;
    }

    /// Adds what was passed over elsewhere.
    pub fn add(&mut self, other: Self) {
        let Self { files, hidden_files, hidden_folders, loose } = other;
        files.into_iter().for_each(|(kind, count)| *self.files.entry(kind).or_default() += count);
        self.hidden_files += hidden_files;
        self.hidden_folders.extend(hidden_folders);
        if let Some((count, example)) = loose {
            self.loose.get_or_insert((0, example)).0 += count;
        }
    }

    /// Counts an image outside the class folders.
    pub fn loose(&mut self, path: PathBuf) {
        self.loose.get_or_insert((0, path)).0 += 1;
    }

    /// Describes what was passed over, for instance `ignored 12 files (.txt)`, or returns nothing.
    pub fn describe(&self) -> Option<String> {
        let mut parts = Vec::new();
        let count: usize = self.files.values().sum();
        if count > 0 {
            let kinds: Vec<&str> =
                self.files.keys().map(|k| if k.is_empty() { "no extension" } else { k.as_str() }).collect();
            parts.push(format!("{} ({})", counted(count, "file"), listed(&kinds)));
        }
        if self.hidden_files > 0 {
            parts.push(counted(self.hidden_files, "hidden file"));
        }
        if !self.hidden_folders.is_empty() {
            let names: Vec<&str> = self.hidden_folders.iter().map(String::as_str).collect();
            parts.push(format!("{} ({})", counted(names.len(), "folder"), listed(&names)));
        }
        if let Some((count, example)) = &self.loose {
            parts.push(format!(
                "{} outside the class folders ({})",
                counted(*count, "image"),
                example.display()
            ));
        }
        (!parts.is_empty()).then(|| format!("ignored {}", parts.join(", ")))
    }
}

/// Returns `count` with its noun, for instance `3,455 files`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count as u64), if count == 1 { "" } else { "s" })
}

/// Formats `1234567` as `1,234,567`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Lists the first few of `names`.
pub fn listed(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let more = format!("{} more", names.len().saturating_sub(SHOWN));
    if names.len() > SHOWN {
        shown.push(&more);
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_sorted_by_number_only_if_all_are_numbers() {
        let listing = |names: &[&str]| {
            let found = |name: &&str| Found { split: None, class: name.to_string(), path: PathBuf::new() };
            Listing { images: names.iter().map(found).collect(), ..Listing::default() }.classes()
        };
        assert_eq!(listing(&["10", "9", "0", "9"]), ["0", "9", "10"]);
        assert_eq!(listing(&["00010", "00009"]), ["00009", "00010"]);
        assert_eq!(listing(&["10", "9", "a"]), ["10", "9", "a"]);
    }

    #[test]
    fn what_is_ignored_is_counted_by_kind() {
        let mut ignored = Ignored::default();
        assert_eq!(ignored.describe(), None);
        for name in ["a.txt", "b.TXT", "README", "c.heic"] {
            ignored.file(Path::new(name));
        }
        ignored.hidden_folders.insert("__MACOSX".into());
        ignored.loose("x.png".into());
        assert_eq!(
            ignored.describe().unwrap(),
            "ignored 4 files (no extension, .heic, .txt), 1 folder (__MACOSX), 1 image outside the class folders (x.png)"
        );
        assert_eq!(counted(1_234_567, "image"), "1,234,567 images");
        let grouped = [0, 999, 1000, 134_309_962].map(thousands);
        assert_eq!(grouped, ["0", "999", "1,000", "134,309,962"]);
    }
}
