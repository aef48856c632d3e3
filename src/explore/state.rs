//! What an exploration has found so far, as a file that a later run continues from.

use crate::binding::Binding;
use crate::report::Row;
use crate::tables::put;
use lopper_engine::{Error, Result, input};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// An exploration.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What the results depend on.
    pub binding: Binding,
    /// The network as it was.
    pub before: Row,
    /// What was tried, in order.
    pub tried: Vec<Tried>,
}

/// A candidate that was tried.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// Its name.
    pub name: String,
    /// Its technique.
    pub technique: String,
    /// Its row, or why it has none.
    pub outcome: std::result::Result<Row, String>,
    /// Its plan, relative to the folder, for `lopper prune --plan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl State {
    /// Reads the state in the file `path`, if there is one, and checks that it belongs to `binding`.
    ///
    /// # Errors
    /// If the file is damaged, or was begun under other conditions.
    pub fn read(path: &Path, binding: &Binding) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = input::read_to_string(path)?;
        let state: Self = serde_json::from_str(&text).map_err(|e| Error::file(path, e))?;
        if state.binding != *binding {
            return Err(Error::file(
                path,
                "an exploration of another network, other images or options: expected another --out, or --force, which \
                 starts over",
            ));
        }
        Ok(Some(state))
    }

    /// Writes the state to the file `path`.
    pub fn write(&self, path: &Path) -> Result<()> {
        put(path, serde_json::to_string_pretty(self).map_err(|e| Error::file(path, e))?.as_bytes())
    }

    /// Seconds spent so far.
    pub fn seconds(&self) -> f64 {
        self.tried.iter().map(|tried| tried.seconds).sum()
    }

    /// The longest of them.
    pub fn longest(&self) -> f64 {
        self.tried.iter().map(|tried| tried.seconds).fold(0.0, f64::max)
    }

    /// The rows, that of the network as it was first.
    pub fn rows(&self) -> Vec<Row> {
        let tried = self.tried.iter().filter_map(|tried| tried.outcome.as_ref().ok());
        [&self.before].into_iter().chain(tried).cloned().collect()
    }
}
