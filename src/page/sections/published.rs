//! Published figures beside those of the run.

use crate::page::html::{Text, table};
use crate::report::{Report, published_lines, published_notes};

/// The table, and what the run scaled down; empty if nothing was published and nothing scaled down.
pub fn published(report: &Report) -> String {
    let lines = published_lines(&report.stages);
    let scaled = report.run.as_ref().map_or(String::new(), |run| run.scaled_down());
    if lines.is_empty() && scaled.is_empty() {
        return String::new();
    }
    let mut text =
        String::from("<section class=\"part\" id=\"published\">\n<h2>Published against ours</h2>\n");
    if !lines.is_empty() {
        let rows = lines.iter().map(|cells| cells.iter().map(|cell| Text(cell).to_string()).collect());
        text += &table(&["stage", "figure", "published", "ours (95 % interval)", "ours"], &[1, 4], rows);
        text += "<p class=\"note\">“No difference” means that the published figure lies in our interval, not that the two \
            are equal. Published figures seldom have an interval; theirs would be about as wide.</p>\n";
    }
    for note in published_notes(&report.stages) {
        text += &format!("<p class=\"note\">{}</p>\n", Text(note));
    }
    if !scaled.is_empty() {
        text += &format!("<p>{}</p>\n", Text(scaled.trim()));
    }
    text + "</section>\n"
}
