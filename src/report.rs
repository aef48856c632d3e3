//! Results of a walkthrough as a table, machine-readable files and a picture.

use crate::about::About;
use crate::row::Row;
use lopper_engine::{Error, Result, atomic};
use lopper_models::data::thousands;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

impl Row {
    fn cells(&self) -> [String; 10] {
        let percent = |v: f64| format!("{:.2}", 100.0 * v);
        [
            self.stage.clone(),
            self.what.clone(),
            self.top1.map_or("–".into(), percent),
            self.interval.map_or("–".into(), |(low, high)| format!("{}–{}", percent(low), percent(high))),
            thousands(self.params),
            format!("{:.1}", self.macs as f64 / 1e6),
            thousands(self.bytes / 1000),
            format!("{:.3}", self.latency_ms),
            self.logit_difference.map_or("–".into(), |d| format!("{d:.1e}")),
            format!("{:.1}", self.seconds),
        ]
    }
}

const HEADINGS: [&str; 10] = [
    "stage",
    "what",
    "top-1 %",
    "95 % interval",
    "parameters",
    "MMACs",
    "file kB",
    "latency ms",
    "logit diff",
    "seconds",
];

/// Formats the rows as a Markdown table that is also aligned as plain text.
pub fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 10]> = rows.iter().map(Row::cells).collect();
    let width = |i: usize| {
        let longest = cells.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
        longest.max(HEADINGS[i].chars().count())
    };
    let widths: [usize; 10] = std::array::from_fn(width);
    let mut text = String::new();
    let mut line = |cell: &dyn Fn(usize) -> String| {
        for (i, &width) in widths.iter().enumerate() {
            // Words are left-aligned, figures right-aligned.
            let _ = if i < 2 {
                write!(text, "| {:width$} ", cell(i))
            } else {
                write!(text, "| {:>width$} ", cell(i))
            };
        }
        text.push_str("|\n");
    };
    line(&|i| HEADINGS[i].to_string());
    line(&|i| if i < 2 { "-".repeat(widths[i]) } else { "-".repeat(widths[i] - 1) + ":" });
    for row in &cells {
        line(&|i| row[i].clone());
    }
    text
}

/// Machine-readable rows: printed with `--json` and written to `report.json`.
#[derive(Serialize)]
pub struct Stages<'a> {
    /// One row per stage, in order.
    pub stages: &'a [Row],
    /// How the run was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<&'a About>,
}

/// Files that [`write`] creates.
pub const FILES: [&str; 4] = ["report.json", "report.md", "report.csv", "report.svg"];

/// Writes `report.md`, `report.json`, `report.csv` and `report.svg` in `dir`.
pub fn write(dir: &Path, title: &str, rows: &[Row], about: &About) -> Result<()> {
    let stages = Stages { stages: rows, run: Some(about) };
    let json = serde_json::to_vec_pretty(&stages).map_err(|e| Error::file(dir, e))?;
    atomic::write(dir.join("report.json"), |w| w.write_all(&json))?;
    let published = crate::published_table::markdown(rows);
    let separate = if published.is_empty() { "" } else { "\n" };
    let markdown = format!("# {title}\n\n{}{separate}{published}{}", table(rows), about.scaled_down());
    atomic::write(dir.join("report.md"), |w| w.write_all(markdown.as_bytes()))?;
    atomic::write(dir.join("report.csv"), |w| w.write_all(&csv(rows)?))?;
    let svg = crate::picture::svg(title, rows)?;
    atomic::write(dir.join("report.svg"), |w| w.write_all(svg.as_bytes()))
}

/// Formats the rows as CSV, with plain figures in the units of [`Row`]. A missing figure is an empty field.
fn csv(rows: &[Row]) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "stage",
        "what",
        "top1",
        "top1_low",
        "top1_high",
        "params",
        "macs",
        "bytes",
        "latency_ms",
        "logit_difference",
        "seconds",
    ])?;
    let figure = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
    for row in rows {
        writer.write_record([
            row.stage.clone(),
            row.what.clone(),
            figure(row.top1),
            figure(row.interval.map(|(low, _)| low)),
            figure(row.interval.map(|(_, high)| high)),
            row.params.to_string(),
            row.macs.to_string(),
            row.bytes.to_string(),
            row.latency_ms.to_string(),
            row.logit_difference.map_or(String::new(), |d| d.to_string()),
            row.seconds.to_string(),
        ])?;
    }
    writer.into_inner().map_err(|e| e.into_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Findings;
    use lopper_engine::train::Accuracy;

    fn row() -> Row {
        Row {
            stage: "baseline".into(),
            what: "vgg16_bn, 5 epochs".into(),
            top1: None,
            interval: None,
            params: 134_309_962,
            macs: 5_130_000_000,
            bytes: 537_000_000,
            latency_ms: 52.5,
            logit_difference: Some(0.5),
            seconds: 12.0,
            findings: Findings::default(),
        }
    }

    #[test]
    fn csv_figures_are_plain_numbers() {
        let text = String::from_utf8(csv(&[row()]).unwrap()).unwrap();
        let line = text.lines().nth(1).unwrap();
        assert_eq!(line, "baseline,\"vgg16_bn, 5 epochs\",,,,134309962,5130000000,537000000,52.5,0.5,12");
    }

    #[test]
    fn table_columns_are_aligned() {
        let mut row = row();
        row.set_accuracy(&Accuracy { correct: 90, total: 100 });
        let text = table(&[row]);
        let widths: Vec<usize> = text.lines().map(|l| l.chars().count()).collect();
        assert_eq!(widths.len(), 3);
        assert!(widths.iter().all(|&w| w == widths[0]), "{text}");
        assert!(text.contains("90.00") && text.contains("134,309,962") && text.contains("5130.0"), "{text}");
    }
}
