//! What cannot be written where it was wanted is written elsewhere, and not lost.

use lopper_engine::{Error, Result};
use std::path::{Path, PathBuf};

/// Lets `write` write `path`. Where it cannot, it is to write next to it, in the current directory or in that for
/// temporary files: the first place that works.
///
/// # Errors
/// Always where `path` could not be written: the error says why, and where `what` is instead.
pub fn write(what: &str, path: &Path, write: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let Err(error) = write(path) else { return Ok(()) };
    let beside = path.parent().map(Path::to_path_buf).unwrap_or_default();
    for directory in [beside, PathBuf::from("."), std::env::temp_dir()] {
        let place = unused(&directory, path);
        if write(&place).is_ok() {
            return Err(Error::invalid(format!("{error}; {what} is in {} instead", place.display())));
        }
    }
    Err(Error::invalid(format!("{error}; nor can {what} be written anywhere else")))
}

/// A name in `directory` like that of `path` which no file has.
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
    fn the_next_place_is_taken_and_named() {
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
        assert!(never.unwrap_err().to_string().contains("nor can the network"));
    }
}
