//! The data of a report.

use super::{About, Row, Seeds};
use serde::{Deserialize, Serialize};

/// Rows and origin of a run: `report.json`, and without details what `--json` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// One row per stage, in order.
    pub stages: Vec<Row>,
    /// How the run was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<About>,
    /// Means over several seeds, if the recipe asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Seeds>,
}

impl Report {
    /// The rows only, without details.
    pub fn brief(rows: &[Row]) -> Self {
        Self { stages: rows.iter().map(Row::brief).collect(), run: None, seeds: None }
    }

    /// The stage with this name.
    pub fn stage(&self, name: &str) -> Option<&Row> {
        self.stages.iter().find(|row| row.stage == name)
    }
}
