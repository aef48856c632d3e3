//! The model file that a command writes: not over another one unasked, and not by two commands at once.

use crate::progress::note;
use crate::recipe::Stage;
use lopper_engine::{Error, Result, atomic};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Bytes of a file's name, so that those of its checkpoint and lock fit into the 255 that systems take.
const LONGEST_NAME: usize = 240;

/// A file that this process has for itself.
pub struct OutputFile {
    checkpoint: PathBuf,
    _lock: atomic::Lock,
}

impl OutputFile {
    /// Takes `path`, whose training is kept in `path.checkpoint`, for a command with `force` or one that is to `resume`.
    ///
    /// # Errors
    /// An [`Error::File`] where it cannot be written, another command is at work on it, or it holds what would be lost.
    pub fn claim(path: &Path, force: bool, resume: bool) -> Result<Self> {
        atomic::check(path)?;
        let length = path.file_name().unwrap_or_default().len();
        if length > LONGEST_NAME {
            let message = format!("a name of at most {LONGEST_NAME} bytes is needed, found {length}");
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
                let message = "it exists already, without a checkpoint to resume from: --force starts over";
                return Err(Error::file(path, message));
            }
            note(format_args!("there is no {}: starts from the beginning", checkpoint.display()));
        }
        refuse_existing(path, false)?;
        if checkpoint.exists() {
            let message =
                "the checkpoint of an unfinished training: --resume goes on from it, --force starts over";
            return Err(Error::file(checkpoint, message));
        }
        Ok(Self { checkpoint, _lock: lock })
    }

    /// Where its training is kept.
    pub fn checkpoint(&self) -> &Path {
        &self.checkpoint
    }

    /// Removes the checkpoint of an earlier training, unless the command is to `resume` it.
    pub fn forget(&self, resume: bool) -> Result<()> {
        if resume { Ok(()) } else { atomic::remove(&self.checkpoint) }
    }
}

/// An error where a plan that one of `stages` writes exists, unless `allowed`, or two of them write the same file.
pub fn refuse_existing_plans(stages: &[Stage], allowed: bool) -> Result<()> {
    let plans: Vec<&PathBuf> = stages.iter().filter_map(|stage| stage.save_plan.as_ref()).collect();
    for (i, plan) in plans.iter().enumerate() {
        refuse_existing(plan, allowed)?;
        if plans[..i].contains(plan) {
            return Err(Error::file(plan, "save_plan: two stages write this file"));
        }
    }
    Ok(())
}

/// An error where the file `path` exists, unless `force`.
pub fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) if !force => Err(Error::file(path, "it exists already: --force overwrites it")),
        _ => Ok(()),
    }
}
