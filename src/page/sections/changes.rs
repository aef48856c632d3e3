//! What the rewrites of a stage report about each layer.

use crate::page::html::{Text, folded, table};
use crate::report::{Report, Row};

/// The lines of the reports, folded away.
pub fn changes(_: &Report, row: &Row) -> String {
    let changes = row.details.as_ref().map_or(&[][..], |details| &details.changes);
    if changes.is_empty() {
        return String::new();
    }
    let changed = changes.iter().filter(|change| change.changed).count();
    let lines = changes.iter().map(|change| {
        let text = if change.changed { change.text.clone() } else { format!("skipped: {}", change.text) };
        vec![Text(&change.layer).to_string(), Text(&change.technique).to_string(), Text(text).to_string()]
    });
    let heading = format!("Report of the rewrite: {changed} of {} layers changed", changes.len());
    let table = table(&["layer", "technique", "what happened"], &[1, 2], lines);
    folded(&heading, &format!("<div class=\"told\">{table}</div>\n"))
}
