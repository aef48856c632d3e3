//! The parts of a data set whose folders are not named after splits.

use super::arrange::{Finding, find};
use super::listing::Listing;
use super::pattern::ClassPattern;
use super::split::Split;
use super::table::{Columns, read};
use lopper_engine::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A folder of a data set, and the split that its images belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The split.
    pub split: Split,
    /// The folder, relative to the data set's directory.
    pub path: PathBuf,
    /// A table (CSV) of the labels, relative to the data set's directory, instead of class folders.
    #[serde(default)]
    pub labels: Option<PathBuf>,
    /// The columns of that table, if their names are unusual. Its paths are relative to the folder.
    #[serde(default)]
    pub columns: Columns,
    /// The pattern of the images' names, if they carry the class.
    #[serde(default)]
    pub class_pattern: Option<ClassPattern>,
}

impl Part {
    /// Finds the images of the part below `root`, the data set's directory.
    ///
    /// # Errors
    /// [`lopper_engine::Error::File`] if the folder or the table cannot be read or understood.
    pub fn read(&self, root: &Path, hidden: bool) -> Result<Listing> {
        let folder = root.join(&self.path);
        let mut found = match &self.labels {
            Some(table) => read(&root.join(table), &folder, &self.columns)?,
            None => find(&folder, &Finding { pattern: self.class_pattern.as_ref(), hidden })?,
        };
        for image in &mut found.images {
            image.split = Some(self.split);
            // Paths beside the table are absolute and stay so.
            image.path = self.path.join(&image.path);
        }
        Ok(found)
    }
}
