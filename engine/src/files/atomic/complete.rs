//! Files that are complete and on disk before they get their names.

use super::{sync_directory, target, temporary, unwritable};
use crate::Result;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes the output of `f` to `path`: to a temporary file in the same directory, which is synchronized to disk and
/// renamed; then the directory is synchronized. A failure leaves an existing file untouched and removes the temporary
/// file.
///
/// # Errors
/// [`Error::File`](crate::Error::File), with `path`, if the directory is missing, permission is denied, the disk is
/// full, `path` is not a regular file, or `f` returns an error.
///
/// ```
/// let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("report.csv");
/// lopper_engine::atomic::write(&path, |file| writeln!(file, "stage,top1")).unwrap();
/// assert_eq!(std::fs::read_to_string(path).unwrap(), "stage,top1\n");
/// ```
pub fn write(path: impl AsRef<Path>, f: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    Complete::write(path.as_ref(), f)?.rename()
}

/// A file under a temporary name, which is removed when the value is dropped.
pub(super) struct Complete<'p> {
    path: &'p Path,
    directory: &'p Path,
    file: NamedTempFile,
}

impl<'p> Complete<'p> {
    /// Writes the output of `f` to a temporary file beside `path` and synchronizes it to disk.
    pub fn write(path: &'p Path, f: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Self> {
        let (directory, name) = target(path)?;
        let file = written(directory, name, f).map_err(|e| unwritable(path, &e))?;
        Ok(Self { path, directory, file })
    }

    /// Gives the file its name, such that it keeps it after a power failure.
    pub fn rename(self) -> Result<()> {
        let renamed = self.file.persist(self.path).map_err(|e| e.error);
        renamed.and_then(|_| sync_directory(self.directory)).map_err(|e| unwritable(self.path, &e))
    }
}

fn written(
    directory: &Path,
    name: &OsStr,
    f: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    temporary::remove_abandoned(directory);
    let mut file = temporary::create(directory, name)?;
    let mut writer = BufWriter::with_capacity(1 << 16, file.as_file_mut());
    f(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    Ok(file)
}
