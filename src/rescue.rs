//! Fallback for results that cannot be written to their file: they are written elsewhere instead of being lost.

use lopper_engine::{Error, Result};
use std::path::{Path, PathBuf};

/// Calls `write` with `path`. If that fails, tries a new file next to it, in the current directory and in the directory
/// for temporary files, and stops at the first that works.
///
/// # Errors
/// Returns an error whenever `path` could not be written; it gives the reason and the place where `what` is instead.
pub fn write(what: &str, path: &Path, write: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let Err(error) = write(path) else { return Ok(()) };
    let beside = path.parent().map(Path::to_path_buf).unwrap_or_default();
    for directory in [beside, PathBuf::from("."), std::env::temp_dir()] {
        let place = unused(&directory, path);
        if write(&place).is_ok() {
            return Err(Error::invalid(format!("{error}; {what} is in {} instead", place.display())));
        }
    }
    Err(Error::invalid(format!("{error}; {what} cannot be written anywhere else either")))
}

/// Returns an unused path in `directory` with a name like that of `path`.
pub fn unused(directory: &Path, path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    let name = |n: usize| match n {
        1 => directory.join(format!("{stem}-kept{extension}")),
        n => directory.join(format!("{stem}-kept-{n}{extension}")),
    };
    (1..)
        .map(name)
        .find(|place| place.symlink_metadata().is_err())
        .expect("there are more numbers than files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::atomic;

    #[test]
    fn a_failed_write_goes_to_the_next_place_and_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.safetensors");
        let save = |place: &Path| atomic::write(place, |file| file.write_all(b"weights"));
        write("the network", &path, save).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        for kept in ["m-kept.safetensors", "m-kept-2.safetensors"] {
            let message = write("the network", &path, save).unwrap_err().to_string();
            assert!(
                message.contains(&format!("{kept} instead")) && message.contains("not a file"),
                "{message}"
            );
            assert_eq!(std::fs::read(directory.path().join(kept)).unwrap(), b"weights");
        }
        let never = write("the network", &path, |place| Err(Error::file(place, "full")));
        assert!(never.unwrap_err().to_string().contains("the network cannot be written anywhere else"));
    }
}
