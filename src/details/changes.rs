//! What a rewrite reports about each layer.

use lopper_engine::rewrite::{Outcome, RewriteReport};
use serde::{Deserialize, Serialize};

/// A line of the report of a rewrite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Name of the technique.
    pub technique: String,
    /// Name of the layer.
    pub layer: String,
    /// Whether the layer was changed, rather than skipped.
    pub changed: bool,
    /// How it was changed, or why it was skipped.
    pub text: String,
}

/// The lines of `report`, in graph order.
pub fn changes(report: &RewriteReport) -> impl Iterator<Item = Change> {
    report.nodes.iter().map(|(layer, outcome)| {
        let (changed, text) = match outcome {
            Outcome::Changed(how) => (true, how),
            Outcome::Skipped(why) => (false, why),
        };
        let technique = report.technique.to_string();
        Change { technique, layer: layer.clone(), changed, text: text.clone() }
    })
}
