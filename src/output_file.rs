//! The model file that a command writes: never over an existing one unless asked, and never by two commands at once.

use crate::progress::note;
use crate::recipe::Stage;
use lopper_engine::{Error, Result, atomic};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Maximum length of a file name in bytes, so that the names of its checkpoint and lock stay within the usual limit
/// of 255.
const LONGEST_NAME: usize = 240;

/// Output file that this process has locked.
pub struct OutputFile {
    checkpoint: PathBuf,
    _lock: atomic::Lock,
}

impl OutputFile {
    /// Locks `path`, whose training checkpoint is `path.checkpoint`. `force` and `resume` are the command's options.
    ///
    /// # Errors
    /// Returns an [`Error::File`] if the file cannot be written, another command is writing it, or a result would be
    /// lost.
    pub fn claim(path: &Path, force: bool, resume: bool) -> Result<Self> {
        atomic::check(path)?;
        let length = path.file_name().unwrap_or_default().len();
        if length > LONGEST_NAME {
            let message = format!("expected a name of at most {LONGEST_NAME} bytes, found {length}");
            return Err(Error::file(path, message));
        }
        let sibling = |prefix: &str, suffix: &str| {
            let mut name = OsString::from(prefix);
            name.push(path.file_name().unwrap_or_default());
            name.push(suffix);
            path.with_file_name(name)
        };
        let lock = atomic::lock(sibling(".", ".lopper-lock"))?
            .ok_or_else(|| Error::file(path, "another command is writing it"))?;
        let checkpoint = sibling("", ".checkpoint");
        if resume && checkpoint.exists() || force {
            return Ok(Self { checkpoint, _lock: lock });
        }
        if resume {
            if path.exists() {
                let message = "already exists, without a checkpoint to resume from: --force starts over";
                return Err(Error::file(path, message));
            }
            note(format_args!("{} does not exist: starting from the beginning", checkpoint.display()));
        }
        refuse_existing(path, false)?;
        if checkpoint.exists() {
            let message =
                "the checkpoint of an unfinished training: --resume continues from it, --force starts over";
            return Err(Error::file(checkpoint, message));
        }
        Ok(Self { checkpoint, _lock: lock })
    }

    /// Returns the path of the training checkpoint.
    pub fn checkpoint(&self) -> &Path {
        &self.checkpoint
    }

    /// Removes the checkpoint of an earlier training, unless `resume`.
    pub fn forget(&self, resume: bool) -> Result<()> {
        if resume { Ok(()) } else { atomic::remove(&self.checkpoint) }
    }
}

/// Returns an error if a file that one of `stages` writes besides its network already exists, unless `allowed`, or if
/// two stages write the same file.
pub fn refuse_existing_outputs(stages: &[Stage], allowed: bool) -> Result<()> {
    let outputs: Vec<(&str, &Path)> = stages.iter().flat_map(Stage::outputs).collect();
    for (i, &(option, path)) in outputs.iter().enumerate() {
        refuse_existing(path, allowed)?;
        if outputs[..i].iter().any(|(_, earlier)| *earlier == path) {
            return Err(Error::file(path, format!("{option}: two stages write to this file")));
        }
    }
    Ok(())
}

/// Returns an error if the file `path` exists, unless `force`.
pub fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) if !force => Err(Error::file(path, "already exists: --force overwrites it")),
        _ => Ok(()),
    }
}
