//! The directory of synthesized images: what is in it, and what its bits depend on.
//!
//! ```text
//!   DIR/  CLASS/000000.png …      image k is of class k mod K
//!         synthesis.json          the conditions, and each finished batch
//!         labels.csv              the class of each image, if a name is not one of a folder (`T-shirt/top`), whose folder has its
//!                                 number
//! ```

use crate::binding::differences;
use crate::tables::put;
use lopper_compress::synthesize::Terms;
use lopper_engine::{Error, Result, atomic, input};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Synthesized images, finished or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthesized {
    /// The network's file.
    pub model: String,
    /// What the bits depend on, by name.
    pub binding: BTreeMap<String, String>,
    /// How many images there will be.
    pub planned: usize,
    /// The name of each class.
    pub classes: Vec<String>,
    /// The finished batches.
    pub batches: Vec<Batch>,
}

/// A finished batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Its images.
    pub images: usize,
    /// Those that the network takes for their class, as they are in their files.
    pub recognized: usize,
    /// The terms of their loss, without their weights.
    pub terms: Terms,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Synthesized {
    /// The name of the file.
    pub const FILE: &str = "synthesis.json";
    /// The name of the table of labels.
    pub const TABLE: &str = "labels.csv";

    /// Images in files.
    pub fn images(&self) -> usize {
        self.batches.iter().map(|batch| batch.images).sum()
    }

    /// Those that the network takes for their class.
    pub fn recognized(&self) -> usize {
        self.batches.iter().map(|batch| batch.recognized).sum()
    }

    /// The class of image `k`.
    pub fn label(&self, k: usize) -> u32 {
        (k % self.classes.len()) as u32
    }

    /// The folder of class `label`: its name, or its number if that is not the name of a folder that data sets show.
    pub fn folder(&self, label: usize) -> String {
        let name = &self.classes[label];
        if is_folder(name) { name.clone() } else { format!("{label:03}") }
    }

    /// Whether a table has to say which class an image is of.
    pub fn needs_table(&self) -> bool {
        !self.classes.iter().all(|name| is_folder(name))
    }

    /// The file of image `k`, relative to the directory.
    pub fn path(&self, k: usize) -> PathBuf {
        Path::new(&self.folder(self.label(k) as usize)).join(format!("{k:06}.png"))
    }

    /// What `--data` takes for the images in `directory`.
    pub fn data(&self, directory: &Path) -> PathBuf {
        if self.needs_table() { directory.join(Self::TABLE) } else { directory.to_path_buf() }
    }

    /// The sizes of `count` images in batches of up to `most`: as equal as they can be, because statistics of a small batch
    /// say little.
    pub fn sizes(count: usize, most: usize) -> Vec<usize> {
        let batches = count.div_ceil(most.max(1));
        (0..batches).map(|batch| count / batches + usize::from(batch < count % batches)).collect()
    }

    /// Checks that each class has a name of its own.
    ///
    /// # Errors
    /// If there is no class, or a name is empty or that of two.
    pub fn check_classes(classes: &[String]) -> Result<()> {
        let known = |name: &&String| classes.iter().filter(|other| other == name).count() > 1;
        match (classes.iter().find(|name| name.trim().is_empty() || known(name)), classes.is_empty()) {
            (None, false) => Ok(()),
            (None, true) => Err(Error::invalid("synthesis: expected a network that names its classes")),
            (Some(name), _) => Err(Error::invalid(format!(
                "synthesis: expected a name for each class, each another one, found `{name}`"
            ))),
        }
    }

    /// Reads the file in `directory`.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(Self::FILE);
        let text = input::read_to_string(&path)?;
        let found: Self =
            serde_json::from_str(&text).map_err(|e| Error::file(&path, format!("damaged: {e}")))?;
        Self::check_classes(&found.classes).map_err(|e| Error::file(&path, format!("damaged: {e}")))?;
        match found.images() <= found.planned {
            true => Ok(found),
            false => Err(Error::file(&path, "damaged: more images than planned")),
        }
    }

    /// Writes the file in `directory`.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(Self::FILE);
        put(&path, serde_json::to_string_pretty(self).map_err(|e| Error::file(&path, e))?.as_bytes())
    }

    /// Writes the table of labels in `directory`, if it is needed.
    pub fn write_table(&self, directory: &Path) -> Result<()> {
        if !self.needs_table() {
            return Ok(());
        }
        let path = directory.join(Self::TABLE);
        let failed = |e: &dyn std::fmt::Display| Error::file(&path, e);
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["path", "label"]).map_err(|e| failed(&e))?;
        for k in 0..self.images() {
            let name = &self.classes[self.label(k) as usize];
            table.write_record([&self.path(k).to_string_lossy()[..], name]).map_err(|e| failed(&e))?;
        }
        put(&path, &table.into_inner().map_err(|e| failed(&e))?)
    }

    /// An error unless `earlier`, the file in `directory`, was begun under the conditions of this one.
    pub fn check_conditions(&self, earlier: &Self, directory: &Path) -> Result<()> {
        let differing = differences(&earlier.binding, &self.binding);
        match differing.is_empty() && earlier.planned == self.planned && earlier.classes == self.classes {
            true => Ok(()),
            false => {
                let list = differing.join("; ");
                Err(Error::file(
                    directory.join(Self::FILE),
                    format!("was begun under other conditions ({list}): --force starts over"),
                ))
            }
        }
    }

    /// Removes the images in `directory`, finished or begun, and then the file.
    pub fn remove(&self, directory: &Path) -> Result<()> {
        (0..self.planned).try_for_each(|k| atomic::remove(directory.join(self.path(k))))?;
        if self.needs_table() {
            atomic::remove(directory.join(Self::TABLE))?;
        }
        atomic::remove(directory.join(Self::FILE))
    }
}

/// Whether `name` is that of a folder which data sets show.
fn is_folder(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    one && !name.starts_with('.') && !name.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_of_almost_equal_size() {
        for (count, most, expected) in
            [(10, 4, &[4, 3, 3][..]), (8, 4, &[4, 4]), (3, 64, &[3]), (5, 1, &[1; 5]), (65, 64, &[33, 32])]
        {
            assert_eq!(Synthesized::sizes(count, most), expected);
        }
    }

    #[test]
    fn folders_have_the_names_of_classes_or_their_numbers() {
        for name in ["cat", "a dog, large", "3"] {
            assert!(is_folder(name), "{name}");
        }
        for name in ["a/b", "..", "", ".a", "/", "a\\b", "a/"] {
            assert!(!is_folder(name), "{name}");
        }
        let of = |names: &[&str]| Synthesized {
            model: String::new(),
            binding: BTreeMap::new(),
            planned: 3,
            classes: names.iter().map(|name| name.to_string()).collect(),
            batches: Vec::new(),
        };
        assert_eq!(of(&["b", "a"]).path(1), Path::new("a/000001.png"));
        let numbered = of(&["T-shirt/top", "Bag"]);
        assert_eq!(numbered.path(1), Path::new("Bag/000001.png"));
        assert_eq!(numbered.path(2), Path::new("000/000002.png"));
        assert_eq!(numbered.data(Path::new("d")), Path::new("d/labels.csv"));
    }

    #[test]
    fn each_class_has_a_name_of_its_own() {
        let check = |names: &[&str]| {
            Synthesized::check_classes(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
        };
        check(&["cat", "a/b"]).unwrap();
        for names in [&["a", " "][..], &["a", "b", "a"], &[]] {
            assert!(check(names).is_err(), "{names:?}");
        }
    }
}
