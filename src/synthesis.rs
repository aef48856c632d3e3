//! The directory of synthesized images: what is in it, and what its bits depend on.
//!
//! ```text
//!   DIR/  CLASS/000000.png …      image k is of class k mod K
//!         synthesis.json          the conditions, and each finished batch
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
    /// The folder of each class.
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

    /// The file of image `k` below `directory`.
    pub fn path(&self, directory: &Path, k: usize) -> PathBuf {
        directory.join(&self.classes[self.label(k) as usize]).join(format!("{k:06}.png"))
    }

    /// The sizes of `count` images in batches of up to `most`: as equal as they can be, because statistics of a small batch
    /// say little.
    pub fn sizes(count: usize, most: usize) -> Vec<usize> {
        let batches = count.div_ceil(most.max(1));
        (0..batches).map(|batch| count / batches + usize::from(batch < count % batches)).collect()
    }

    /// Checks that the name of each class is that of a folder which data sets show, and that no two share one.
    ///
    /// # Errors
    /// If there is no class, or a name is no folder's.
    pub fn check_folders(classes: &[String]) -> Result<()> {
        let plain = |name: &String| {
            let mut parts = Path::new(name).components();
            let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name.as_str());
            one && !name.starts_with('.') && !name.contains('\\')
        };
        let twice = |name: &&String| classes.iter().filter(|other| other == name).count() > 1;
        let wrong = classes.iter().find(|name| !plain(name)).or_else(|| classes.iter().find(twice));
        match (wrong, classes.is_empty()) {
            (None, false) => Ok(()),
            (None, true) => Err(Error::invalid("synthesis: expected a network that names its classes")),
            (Some(name), _) => Err(Error::invalid(format!(
                "synthesis: expected class names that make folders, each another one, found `{name}`"
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
        Self::check_folders(&found.classes).map_err(|e| Error::file(&path, format!("damaged: {e}")))?;
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
        (0..self.planned).try_for_each(|k| atomic::remove(self.path(directory, k)))?;
        atomic::remove(directory.join(Self::FILE))
    }
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
    fn classes_that_are_no_folders_are_refused() {
        let check = |names: &[&str]| {
            Synthesized::check_folders(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
        };
        check(&["cat", "a dog, large", "3"]).unwrap();
        for names in [
            &["a/b"][..],
            &["a", ".."],
            &["a", ""],
            &[".a"],
            &["/"],
            &["a", "b", "a"],
            &["a\\b"],
            &["a/"],
            &[],
        ] {
            assert!(check(names).is_err(), "{names:?}");
        }
    }
}
