//! The files of a run's report.

use crate::report::{About, Report, csv, pretty, published_markdown, wide};
use lopper::page;
use lopper_engine::{Error, Result, atomic};
use std::path::Path;

/// Files that [`write`] creates.
pub const FILES: [&str; 5] = ["report.json", "report.md", "report.csv", "report.svg", "report.html"];

/// Writes [`FILES`] in `directory`.
pub fn write(directory: &Path, title: &str, report: &Report) -> Result<()> {
    let put = |name: &str, bytes: &[u8]| atomic::write(directory.join(name), |file| file.write_all(bytes));
    let rows = &report.stages;
    let table = csv(rows).map_err(|e| Error::file(directory.join("report.csv"), e))?;
    put("report.json", &pretty(report)?)?;
    let published = published_markdown(rows);
    let separate = if published.is_empty() { "" } else { "\n" };
    let scaled = report.run.as_ref().map_or(String::new(), About::scaled_down);
    let markdown = format!("# {title}\n\n{}{separate}{published}{scaled}", wide(rows));
    put("report.md", markdown.as_bytes())?;
    put("report.csv", &table)?;
    put("report.svg", page::picture(title, rows).as_bytes())?;
    put("report.html", page::page(title, report).as_bytes())
}
