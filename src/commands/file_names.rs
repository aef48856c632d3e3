//! Parsers of options that name a table or a picture to write.

use std::path::{Path, PathBuf};

/// Accepts the name of a table or a picture.
pub(super) fn table_or_picture(name: &str) -> Result<PathBuf, String> {
    named(name, &["csv", "svg"])
}

/// Accepts the name of a table.
pub(super) fn table(name: &str) -> Result<PathBuf, String> {
    named(name, &["csv"])
}

/// Whether `path` names a picture.
pub(super) fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "svg")
}

/// Accepts a name with one of these extensions.
fn named(name: &str, extensions: &[&str]) -> Result<PathBuf, String> {
    let path = PathBuf::from(name);
    match extensions.iter().any(|extension| path.extension().is_some_and(|end| end == *extension)) {
        true => Ok(path),
        false => Err(format!("expected a name that ends in .{}", extensions.join(" or ."))),
    }
}
