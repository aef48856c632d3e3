//! Files that are written whole or not at all.

use crate::{Error, Result};
use std::ffi::OsStr;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

/// Writes the file `path` with what `f` writes: to a temporary file in the same directory, which is synchronised to
/// the disk and then renamed. Whatever fails, a file that was there before is untouched and nothing is left behind.
///
/// # Errors
/// An [`Error::File`] that names `path`: a missing directory, a lack of permission, a full disk, a `path` that is
/// something else than a file, or the error that `f` returns.
///
/// ```
/// let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("report.csv");
/// lopper_engine::atomic::write(&path, |file| writeln!(file, "stage,top1")).unwrap();
/// assert_eq!(std::fs::read_to_string(path).unwrap(), "stage,top1\n");
/// ```
pub fn write(path: impl AsRef<Path>, f: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let path = path.as_ref();
    let (directory, name) = target(path)?;
    let written = (|| {
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{}.", name.to_string_lossy());
        let mut temporary = with_usual_permissions(builder.prefix(&prefix)).tempfile_in(directory)?;
        let mut writer = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
        f(&mut writer)?;
        writer.flush()?;
        drop(writer);
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|e| e.error)?;
        Ok(())
    })();
    written.map_err(|e| Error::file(path, format!("cannot be written: {}", reason(&e))))
}

/// Whether [`write()`] has a chance at `path`: for asking before hours of work rather than after them.
///
/// # Errors
/// An [`Error::File`] where the directory is missing, or `path` is something else than a file.
pub fn check(path: impl AsRef<Path>) -> Result<()> {
    target(path.as_ref()).map(|_| ())
}

/// The directory that `path` is to be written in, and its name there.
fn target(path: &Path) -> Result<(&Path, &OsStr)> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(Error::file(path, "not the name of a file"));
    };
    let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    if !directory.is_dir() {
        return Err(Error::file(
            path,
            format!("cannot be written: there is no directory {}", directory.display()),
        ));
    }
    // Renaming onto a device or a directory would replace it, or fail late.
    if path.exists() && !path.is_file() {
        return Err(Error::file(path, "cannot be written: it exists and is not a file"));
    }
    Ok((directory, name))
}

/// Lets the umask decide who may read the file; a temporary file is otherwise for its owner alone.
fn with_usual_permissions<'a, 'b>(
    builder: &'a mut tempfile::Builder<'b, 'b>,
) -> &'a mut tempfile::Builder<'b, 'b> {
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// The error in plain words, without the name of the temporary file.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => "the disk is full".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
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
    fn a_file_is_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model");
        for text in ["long old content", "new"] {
            write(&path, |w| w.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(directory.path()), ["model"]);
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
    fn what_cannot_be_a_file_is_refused_by_name() {
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

    #[test]
    #[cfg(unix)]
    fn others_may_read_it_as_the_umask_says() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (ours, usual) = (directory.path().join("ours"), directory.path().join("usual"));
        write(&ours, |_| Ok(())).unwrap();
        fs::write(&usual, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
    }
}
