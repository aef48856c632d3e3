//! The directory of a run. It belongs to one run at a time, never mixes the results of two, and records which stages
//! are finished.
//!
//! ```text
//!   runs/demo/  state.json            the run's binding, and each finished stage with its file's checksum and its row
//!               1-teacher.safetensors …
//!               checkpoint            the interrupted training
//!               history.csv, sparsity.csv
//!               report.html, .md, .json, .csv, .svg
//!               .lopper-lock          present while a run is active
//! ```

use crate::binding::Binding;
use crate::digest;
use crate::history;
use crate::keeping::KeepArgs;
use crate::recipe::{Recipe, Stage, model_path};
use crate::report::{Resumption, Row};
use crate::report_files;
use lopper_engine::train::EpochMetrics;
use lopper_engine::{Error, Result, atomic, input};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
const CHECKPOINT: &str = "checkpoint";
const LOCK: &str = ".lopper-lock";
const FORMAT: u32 = 1;

/// Run directory that this process has locked.
pub struct RunDirectory {
    path: PathBuf,
    state: State,
    _lock: atomic::Lock,
}

/// Progress of a run.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u32,
    binding: Binding,
    finished: Vec<Finished>,
    /// Where the run went on after an interruption.
    #[serde(default)]
    resumed: Vec<Resumption>,
}

/// Finished stage.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// Name of its model file.
    pub file: String,
    /// Checksum of that file.
    sha256: String,
    /// Its row of the table.
    pub row: Row,
    /// Epochs of its training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<EpochMetrics>,
}

impl RunDirectory {
    /// Locks the directory `path`, creating it if necessary. `force` and `keep` are the run's options.
    ///
    /// # Errors
    /// Returns an [`Error::File`] if another run is active in the directory, if it holds a result that this run would
    /// overwrite or mix with, or if the state of the run to resume is damaged.
    pub fn claim(path: &Path, force: bool, keep: &KeepArgs) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| Error::file(path, e))?;
        let lock = atomic::lock(path.join(LOCK))?
            .ok_or_else(|| Error::file(path, "another run is active in this directory"))?;
        let (earlier, state) = (results(path)?, State::read(&path.join(STATE))?);
        let listed = earlier.first().map(|file| format!(" ({})", file.display())).unwrap_or_default();
        let refuse = |what: &str, choices: &str| Err(Error::file(path, format!("{what}{listed}{choices}")));
        // A run that died before it finished a stage or wrote a checkpoint leaves only its state.
        let nothing = earlier.is_empty()
            || (earlier.len() == 1 && state.as_ref().is_some_and(|s| s.finished.is_empty()));
        let state = match (keep.resume, state) {
            (true, None) if !nothing => {
                return refuse(
                    "contains files of a run",
                    " but no state.json to resume from: --force starts over",
                );
            }
            (true, Some(state)) => state,
            (false, _) if !force && !nothing => {
                return refuse(
                    "contains the result of an earlier run",
                    ": --force replaces it, --resume continues it, --out names another directory",
                );
            }
            _ => State::default(),
        };
        Ok(Self { path: path.to_path_buf(), state, _lock: lock })
    }

    /// Locks the directory `path` of an earlier run.
    ///
    /// # Errors
    /// An [`Error::File`] if another run is active in the directory, or if it holds no run.
    pub fn of_earlier_run(path: &Path) -> Result<Self> {
        let missing = || Error::file(path, "expected the directory of a run: it contains no state.json");
        if !path.join(STATE).is_file() {
            return Err(missing());
        }
        let lock = atomic::lock(path.join(LOCK))?
            .ok_or_else(|| Error::file(path, "another run is active in this directory"))?;
        let state = State::read(&path.join(STATE))?.ok_or_else(missing)?;
        Ok(Self { path: path.to_path_buf(), state, _lock: lock })
    }

    /// Starts or resumes the run that `binding` describes. Returns an error if the run to resume is a different one.
    /// Files of an earlier run are removed unless this run resumes it.
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
                return Err(Error::file(self.path.join(STATE), format!("stage `{}` is missing", stage.name)));
            }
            if digest::of_file(&path)? != done.sha256 {
                let message = "changed since its stage was finished: --force starts over";
                return Err(Error::file(path, message));
            }
        }
        if !keep.resume {
            self.remove_earlier(recipe)?;
        }
        let resumed = std::mem::take(&mut self.state.resumed);
        self.state = State { format: FORMAT, binding, finished, resumed };
        self.write()
    }

    /// Removes the files of an earlier run, unless `recipe` reads any of them.
    fn remove_earlier(&self, recipe: &Recipe) -> Result<()> {
        let earlier = results(&self.path)?;
        let same =
            |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        let read = recipe.stages.iter().flat_map(Stage::reads);
        for (file, name) in read.flat_map(|name| earlier.iter().map(move |file| (file, name))) {
            if same(file, Path::new(name)) {
                let message = "the recipe reads this file of an earlier run, but --force would remove it";
                return Err(Error::file(file, message));
            }
        }
        earlier.iter().try_for_each(atomic::remove)
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the training checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }

    /// Records where the run goes on, unless it has just begun: at the checkpoint's `position` (stage, epoch and step), or
    /// at the first stage of `recipe` that is not finished.
    pub fn resume(
        &mut self,
        recipe: &Recipe,
        position: Option<(&str, usize, usize)>,
        time: String,
    ) -> Result<()> {
        let unfinished = recipe.stages.get(self.state.finished.len()).map(|stage| stage.name.as_str());
        let at = position.filter(|(stage, ..)| unfinished == Some(*stage));
        if self.state.finished.is_empty() && at.is_none() {
            return Ok(());
        }
        let (epoch, step) = (at.map(|(_, epoch, _)| epoch + 1), at.map(|(.., step)| step));
        self.state.resumed.push(Resumption { stage: unfinished.map(str::to_string), epoch, step, time });
        self.write()
    }

    /// Returns where the run went on after interruptions.
    pub fn resumed(&self) -> &[Resumption] {
        &self.state.resumed
    }

    /// Returns the finished stages.
    pub fn all_finished(&self) -> &[Finished] {
        &self.state.finished
    }

    /// Returns stage `index` if it is finished.
    pub fn finished(&self, index: usize) -> Option<&Finished> {
        self.state.finished.get(index)
    }

    /// Records that the next stage is finished and wrote `path`, which `row` describes, after a training of `epochs`.
    pub fn finish(&mut self, path: &Path, row: &Row, epochs: &[EpochMetrics]) -> Result<()> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (sha256, row, epochs) = (digest::of_file(path)?, row.clone(), epochs.to_vec());
        self.state.finished.push(Finished { file, sha256, row, epochs });
        self.write()
    }

    fn write(&self) -> Result<()> {
        let path = self.path.join(STATE);
        let json = serde_json::to_vec_pretty(&self.state).map_err(|e| Error::file(&path, e))?;
        atomic::write(&path, |file| file.write_all(&json))
    }
}

impl State {
    /// Reads the state from `path`, if the file exists.
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

/// Returns the files in `directory` that a run creates, sorted: a result, or part of one.
fn results(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::file(directory, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = [STATE, CHECKPOINT]
            .into_iter()
            .chain(report_files::FILES)
            .chain(history::FILES)
            .any(|file| file == name);
        if known || is_model(&name) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Returns whether `name` is of the form that [`model_path`] generates: `3-pruned.safetensors`.
fn is_model(name: &str) -> bool {
    let parts = name.strip_suffix(".safetensors").and_then(|stem| stem.split_once('-'));
    parts.is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_files_of_a_run_are_recognized() {
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
