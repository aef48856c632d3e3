//! Temporary files, whose locks show that their writers are alive, and the removal of abandoned ones.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use tempfile::NamedTempFile;

/// The suffix of all temporary files, which tells them from files of other programs.
const SUFFIX: &str = ".lopper-tmp";
/// Maximum number of bytes of the target's name in a temporary file's name, which must not exceed the system's limit.
const SHOWN: usize = 64;

/// Creates a temporary file for `name` in `directory`, locked while it is open.
pub(super) fn create(directory: &Path, name: &OsStr) -> io::Result<NamedTempFile> {
    let name = name.to_string_lossy();
    let shown = (0..=SHOWN).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    let prefix = format!(".{}.", &name[..shown]);
    loop {
        let mut builder = tempfile::Builder::new();
        let file = with_usual_permissions(builder.prefix(&prefix).suffix(SUFFIX)).tempfile_in(directory)?;
        // On a file system without locks, no process removes the file either; see `remove_if_abandoned`.
        let _ = file.as_file().lock();
        // Another process may have removed the file as abandoned before it was locked.
        if is_linked(file.as_file())? {
            return Ok(file);
        }
    }
}

/// Removes the temporary files in `directory` whose writers are dead. Failures are ignored: the files do no harm.
pub(super) fn remove_abandoned(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.as_encoded_bytes().starts_with(b".")
            && name.as_encoded_bytes().ends_with(SUFFIX.as_bytes())
            && entry.file_type().is_ok_and(|t| t.is_file());
        if ours {
            let _ = remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    // Opened for writing, although nothing is written: some network file systems cannot lock read-only files.
    let file = OpenOptions::new().write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => fs::remove_file(path),
        Err(_) => Ok(()), // its writer is alive, or the file system has no locks
    }
}

/// Whether `file` still has a name.
#[cfg(unix)]
pub(super) fn is_linked(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(file.metadata()?.nlink() > 0)
}

/// Whether `file` still has a name. Outside Unix, an open file cannot be removed.
#[cfg(not(unix))]
pub(super) fn is_linked(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Applies the umask's permissions; by default, only the owner can access a temporary file.
fn with_usual_permissions<'a, 'b>(
    builder: &'a mut tempfile::Builder<'b, 'b>,
) -> &'a mut tempfile::Builder<'b, 'b> {
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_files_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        let alive = create(dir, OsStr::new("model")).unwrap();
        let dead = dir.join(".model.abc123.lopper-tmp");
        let others = ["model.lopper-tmp", ".model.abc123", ".lopper-tmp.txt"].map(|name| dir.join(name));
        others.iter().chain([&dead]).for_each(|path| fs::write(path, "x").unwrap());
        fs::create_dir(dir.join(".folder.lopper-tmp")).unwrap();
        remove_abandoned(dir);
        assert!(alive.path().exists() && !dead.exists());
        assert!(others.iter().all(|path| path.exists()) && dir.join(".folder.lopper-tmp").exists());
        let path = alive.path().to_path_buf();
        let (file, kept) = alive.keep().unwrap();
        assert_eq!(path, kept);
        drop(file); // its writer dies
        remove_abandoned(dir);
        assert!(!path.exists());
    }

    /// Two writers and two cleaners at once: no writer loses its file.
    #[test]
    fn a_file_in_use_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..200).for_each(|_| remove_abandoned(dir)));
                scope.spawn(|| {
                    for _ in 0..200 {
                        let file = create(dir, OsStr::new("model")).unwrap();
                        assert!(file.path().exists());
                    }
                });
            }
        });
    }
}
