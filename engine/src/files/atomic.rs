//! Atomic file writes: a file is written completely or not at all, even if a call fails or the process dies.
//!
//! ```text
//!   write ──► .NAME.RANDOM.lopper-tmp (locked) ──fsync──► rename to NAME ──► fsync of the directory
//! ```
//!
//! The lock on the temporary file shows that its writer is alive. A killed process releases it, and the next
//! [`write()`] to the same directory removes the abandoned file.

mod complete;
mod lock;
mod pair;
mod reserve;
mod temporary;

pub use complete::write;
pub use lock::{Lock, lock};
pub use pair::write_pair;
pub use reserve::{Reservation, check, reserve};

use crate::{Error, Result};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Removes the file `path` if it exists, such that it does not reappear after a power failure.
///
/// # Errors
/// [`Error::File`] if the file exists and cannot be removed.
pub fn remove(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let removed = match std::fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => Err(e),
        Ok(()) => target(path).map_or(Ok(()), |(directory, _)| sync_directory(directory)),
    };
    removed.map_err(|e| Error::file(path, format!("cannot be removed: {}", reason(&e))))
}

/// Makes a rename or removal in `directory` survive a power failure, if the system supports it.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(()); // a directory cannot be opened
    }
    match std::fs::File::open(directory)?.sync_all() {
        // Some network and user-space file systems do not support this; the file itself is on disk.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// The directory and file name of `path`, checked for writing.
fn target(path: &Path) -> Result<(&Path, &OsStr)> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(Error::file(path, "not a file name"));
    };
    let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    if !directory.is_dir() {
        return Err(Error::file(path, format!("cannot be written: no directory {}", directory.display())));
    }
    // Renaming onto a device or a directory would replace it, or fail late.
    match path.metadata() {
        Ok(found) if !found.is_file() => {
            Err(Error::file(path, "cannot be written: it exists and is not a file"))
        }
        Err(e) if e.kind() == ErrorKind::InvalidFilename => Err(unwritable(path, &e)),
        _ => Ok((directory, name)),
    }
}

/// The error that `path` cannot be written, with the reason.
fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::file(path, format!("cannot be written: {}", reason(error)))
}

/// A plain description of the error, without the name of the temporary file.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => "the disk is full".into(),
        ErrorKind::QuotaExceeded => "the disk quota is used up".into(),
        ErrorKind::FileTooLarge => "the file would be larger than the system allows".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        ErrorKind::InvalidFilename => "its name is too long or not allowed".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_completely() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model");
        for text in ["long old content", "new"] {
            write(&path, |w| w.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(directory.path()), ["model"]);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model");
        fs::write(&path, "old").unwrap();
        let error = write(&path, |w| {
            w.write_all(&[0; 1 << 20])?;
            Err(ErrorKind::StorageFull.into())
        });
        let message = error.unwrap_err().to_string();
        assert!(message.contains("model") && message.contains("the disk is full"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["model"]);
    }

    #[test]
    fn invalid_paths_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/model");
        let message = write(&missing, |_| Ok(())).unwrap_err().to_string();
        assert!(message.contains("missing/model") && message.contains("no directory"), "{message}");
        assert!(!missing.parent().unwrap().exists());
        let message = write(directory.path(), |_| Ok(())).unwrap_err().to_string();
        assert!(message.contains("not a file"), "{message}");
        assert!(check(&missing).is_err() && check(directory.path()).is_err());
        assert!(check(directory.path().join("model")).is_ok());
        assert!(write("", |_| Ok(())).is_err());
        assert!(write("/", |_| Ok(())).is_err());
    }

    /// The system allows names of up to 255 bytes; temporary file names must not exceed that.
    #[test]
    fn a_name_as_long_as_the_system_allows_is_written() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["m".repeat(255), "é".repeat(127)] {
            write(directory.path().join(&name), |w| w.write_all(b"x")).unwrap();
            assert!(names(directory.path()).contains(&name));
        }
        let message = check(directory.path().join("m".repeat(256))).unwrap_err().to_string();
        assert!(message.contains("cannot be written"), "{message}");
    }

    #[test]
    #[cfg(unix)]
    fn permissions_follow_the_umask() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (ours, usual) = (directory.path().join("ours"), directory.path().join("usual"));
        write(&ours, |_| Ok(())).unwrap();
        fs::write(&usual, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
    }
}
