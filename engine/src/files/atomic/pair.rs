//! Two files of which one refers to the other.

use super::complete::Complete;
use super::{lock, remove, target};
use crate::{Error, Result};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

/// Writes the output of `write_data` to `data`, and that of `write`, which refers to it, to `path`: each completely or not
/// at all, and never one without the other.
///
/// ```text
///   both under temporary names ──► an old PATH is removed ──► rename to DATA ──► rename to PATH
/// ```
///
/// If the process dies between these steps, there is no file `path` that refers to data of another writing. A failure
/// before them leaves existing files untouched.
///
/// # Errors
/// Those of [`write()`](super::write); [`Error::File`] if another process is writing the same pair.
pub fn write_pair(
    [data, path]: [&Path; 2],
    write_data: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let (_, name) = target(path)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".lopper-lock");
    // The names of two writers must not take turns.
    let _lock = lock(path.with_file_name(hidden))?
        .ok_or_else(|| Error::file(path, "another command is writing it"))?;
    let complete_data = Complete::write(data, write_data)?;
    let complete = Complete::write(path, write)?;
    if data.exists() {
        remove(path)?;
    }
    complete_data.rename()?;
    complete.rename()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let [data, path] = ["x.data", "x"].map(|name| folder.path().join(name));
        (folder, data, path)
    }

    fn count(folder: &tempfile::TempDir) -> usize {
        fs::read_dir(folder.path()).unwrap().count()
    }

    #[test]
    fn both_files_are_replaced() {
        let (folder, data, path) = folder();
        for text in ["old", "new"] {
            write_pair(
                [&data, &path],
                |file| write!(file, "{text} data"),
                |file| file.write_all(text.as_bytes()),
            )
            .unwrap();
            assert_eq!(fs::read_to_string(&data).unwrap(), format!("{text} data"));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(count(&folder), 2);
        }
    }

    #[test]
    fn a_failure_in_either_file_leaves_both_and_nothing_else() {
        let (folder, data, path) = folder();
        write_pair([&data, &path], |file| write!(file, "old data"), |file| write!(file, "old")).unwrap();
        let fails = |_: &mut dyn Write| Err(io::ErrorKind::StorageFull.into());
        let errors = [
            write_pair([&data, &path], fails, |file| write!(file, "new")).unwrap_err(),
            write_pair([&data, &path], |file| write!(file, "new data"), fails).unwrap_err(),
        ];
        for (error, name) in errors.iter().zip(["x.data: ", "x: "]) {
            let message = error.to_string();
            assert!(message.contains(name) && message.contains("the disk is full"), "{message}");
        }
        assert_eq!(fs::read_to_string(&data).unwrap(), "old data");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(count(&folder), 2);
    }

    /// What a process leaves that ends before it could rename the data: here because a directory took their place.
    #[test]
    fn no_file_stays_beside_data_that_change() {
        let (_folder, data, path) = folder();
        write_pair([&data, &path], |file| write!(file, "old data"), |file| write!(file, "old")).unwrap();
        let in_the_way = |file: &mut dyn Write| {
            fs::remove_file(&data)?;
            fs::create_dir(&data)?;
            write!(file, "new")
        };
        write_pair([&data, &path], |file| write!(file, "new data"), in_the_way).unwrap_err();
        assert!(!path.exists());
    }

    #[test]
    fn a_pair_has_one_writer() {
        let (folder, data, path) = folder();
        let meanwhile = |file: &mut dyn Write| {
            let second = write_pair([&data, &path], |_| Ok(()), |_| Ok(()));
            let message = second.unwrap_err().to_string();
            assert!(message.contains("another command is writing it"), "{message}");
            write!(file, "first")
        };
        write_pair([&data, &path], meanwhile, |_| Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&data).unwrap(), "first");
        assert_eq!(count(&folder), 2);
    }
}
