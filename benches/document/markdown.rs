//! Parts of a Markdown document: the head of a section, tables, numbers.

use crate::common::record::Record;
use serde::de::DeserializeOwned;

/// Returns a heading, the command, date and machine of the measurement, and `words`.
pub fn section<Row: DeserializeOwned>(title: &str, record: &Record<Row>, words: &str) -> String {
    let says = |key| record.says(key);
    let short = says("command").contains("--quick") || says("command").contains("--rounds 1 ");
    let caution = if short { "**A short run that tests the benchmark, not the machine.**\n\n" } else { "" };
    format!("## {title}\n\n{}\n\n{caution}{words}\n", source(record))
}

/// Returns the command, date, commit and machine of a measurement.
pub fn source<Row: DeserializeOwned>(record: &Record<Row>) -> String {
    let says = |key| record.says(key);
    format!(
        "    {}\n\n{}, commit {}: {}, {} cores, {}, {}.",
        says("command"),
        says("date"),
        says("commit"),
        says("cpu"),
        says("cores"),
        says("isa"),
        says("rustc")
    )
}

/// Returns a Markdown table, whose first `words` columns hold words and the others numbers.
pub fn table(words: usize, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rules = (0..head.len()).map(|i| if i < words { "---" } else { "---:" }.to_string());
    let head = head.iter().map(|cell| cell.to_string());
    let mut text = format!("\n{}{}", line(&head.collect::<Vec<_>>()), line(&rules.collect::<Vec<_>>()));
    rows.into_iter().for_each(|row| text += &line(&row));
    text
}

/// Formats three significant digits.
pub fn three(value: f64) -> String {
    let decimals = if value <= 0.0 { 2 } else { (2 - value.log10().floor() as i32).clamp(0, 3) };
    format!("{value:.*}", decimals as usize)
}

/// Returns the value, or a dash if it is missing.
pub fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "–".into())
}
