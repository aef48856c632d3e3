//! The directory of a run: one run at a time, its results never mixed with those of another, and what of it is done.
//!
//! ```text
//!   runs/demo/  state.json            what run it is, and each finished stage with its file's checksum and its row
//!               1-teacher.safetensors …
//!               checkpoint            the training that was interrupted
//!               report.md, .json, .csv, .svg
//!               .lopper-lock          while a run is at work
//! ```

use crate::binding::Binding;
use crate::digest;
use crate::keeping::KeepArgs;
use crate::recipe::{Recipe, model_path};
use crate::report::{self, Row};
use lopper_engine::{Error, Result, atomic, input};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
const CHECKPOINT: &str = "checkpoint";
const LOCK: &str = ".lopper-lock";
const FORMAT: u32 = 1;

/// A directory that this process has for itself.
pub struct RunDirectory {
    path: PathBuf,
    state: State,
    _lock: atomic::Lock,
}

/// What a run has done so far.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u32,
    binding: Binding,
    finished: Vec<Finished>,
}

/// A stage that is done.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// The name of its model file.
    file: String,
    /// The checksum of that file.
    sha256: String,
    /// What was measured of it.
    pub row: Row,
}

impl RunDirectory {
    /// Takes `path`, made if need be, for a run with `force` or that resumes as `keep` says.
    ///
    /// # Errors
    /// An [`Error::File`] where another run is at work in it, where it holds a result that this run would mix with or
    /// overwrite, or where the state of the run to resume is damaged.
    pub fn claim(path: &Path, force: bool, keep: &KeepArgs) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| Error::file(path, e))?;
        let lock = atomic::lock(path.join(LOCK))?
            .ok_or_else(|| Error::file(path, "another run is at work in this directory"))?;
        let (earlier, state) = (results(path)?, State::read(&path.join(STATE))?);
        let refuse = |why: &str| {
            let listed = earlier.first().map(|file| format!(" ({})", file.display())).unwrap_or_default();
            Err(Error::file(path, why.replace("@", &listed)))
        };
        // A run that died before it had finished or kept anything leaves its state only.
        let nothing = earlier.is_empty()
            || (earlier.len() == 1 && state.as_ref().is_some_and(|s| s.finished.is_empty()));
        let state = match (keep.resume, state) {
            (true, None) if !nothing => {
                return refuse(
                    "it holds files of a run@ but no state.json to resume it by: --force starts over",
                );
            }
            (true, Some(state)) => state,
            (false, _) if !force && !nothing => {
                return refuse(
                    "it holds the result of an earlier run@: --force replaces it, --resume goes on with it, --out names \
                     another directory",
                );
            }
            _ => State::default(),
        };
        Ok(Self { path: path.to_path_buf(), state, _lock: lock })
    }

    /// Begins the run that `binding` describes, or goes on with it: an error where the one to go on with is another.
    /// What an earlier run left here is removed where this one does not go on with it.
    pub fn begin(&mut self, recipe: &Recipe, binding: Binding, keep: &KeepArgs) -> Result<()> {
        if self.state.format != 0 {
            binding.check(&self.state.binding, &self.path.join(STATE), keep.resume_anyway)?;
        }
        let mut finished = std::mem::take(&mut self.state.finished);
        finished.truncate(recipe.stages.len());
        for ((i, stage), done) in recipe.stages.iter().enumerate().zip(&finished) {
            let path = model_path(&self.path, i, stage);
            if path.file_name().is_none_or(|name| name != done.file.as_str()) || done.row.stage != stage.name
            {
                return Err(Error::file(
                    self.path.join(STATE),
                    format!("stage `{}` is not there", stage.name),
                ));
            }
            if digest::of_file(&path)? != done.sha256 {
                let message = "it changed since its stage was finished: --force starts over";
                return Err(Error::file(path, message));
            }
        }
        if !keep.resume {
            self.remove_earlier(recipe)?;
        }
        self.state = State { format: FORMAT, binding, finished };
        self.write()
    }

    /// Removes what an earlier run left here, unless `recipe` reads any of it.
    fn remove_earlier(&self, recipe: &Recipe) -> Result<()> {
        let earlier = results(&self.path)?;
        let same =
            |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        let read = recipe.stages.iter().flat_map(|stage| [&stage.from, &stage.teacher]).flatten();
        for (file, name) in read.flat_map(|name| earlier.iter().map(move |file| (file, name))) {
            if same(file, Path::new(name)) {
                let message = "the recipe reads this file of an earlier run, which --force would remove";
                return Err(Error::file(file, message));
            }
        }
        earlier.iter().try_for_each(atomic::remove)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the training at work is kept.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }

    /// The stage `index` if it is done.
    pub fn finished(&self, index: usize) -> Option<&Finished> {
        self.state.finished.get(index)
    }

    /// Notes that the stage behind the finished ones is done, and made `path`, which `row` describes.
    pub fn finish(&mut self, path: &Path, row: &Row) -> Result<()> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.state.finished.push(Finished { file, sha256: digest::of_file(path)?, row: row.clone() });
        self.write()
    }

    fn write(&self) -> Result<()> {
        let path = self.path.join(STATE);
        let json = serde_json::to_vec_pretty(&self.state).map_err(|e| Error::file(&path, e))?;
        atomic::write(&path, |file| file.write_all(&json))
    }
}

impl State {
    /// What stands in `path`, if there is such a file.
    fn read(path: &Path) -> Result<Option<Self>> {
        if !path.try_exists().map_err(|e| Error::file(path, e))? {
            return Ok(None);
        }
        let text = input::read_to_string(path)?;
        let state: Self =
            serde_json::from_str(&text).map_err(|e| Error::file(path, format!("damaged: {e}")))?;
        match state.format {
            FORMAT => Ok(Some(state)),
            found => {
                let message = format!("format {found}: this version of lopper reads format {FORMAT}");
                Err(Error::file(path, message))
            }
        }
    }
}

/// The files in `directory` that a run makes, sorted: an earlier result, or part of one.
fn results(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::file(directory, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = [STATE, CHECKPOINT].into_iter().chain(report::FILES).any(|file| file == name);
        if known || is_model(&name) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `name` is one that [`model_path`] gives: `3-pruned.safetensors`.
fn is_model(name: &str) -> bool {
    let parts = name.strip_suffix(".safetensors").and_then(|stem| stem.split_once('-'));
    parts.is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_a_run_are_told_from_others() {
        for (name, is) in [
            ("1-a.safetensors", true),
            ("12-a-b.safetensors", true),
            ("a.safetensors", false),
            ("-a.safetensors", false),
            ("1-a.toml", false),
            ("1x-a.safetensors", false),
        ] {
            assert_eq!(is_model(name), is, "{name}");
        }
    }
}
